"""The responses of one session of a host that wait for its orchestrator: in order, bounded, and merged into frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from lanemesh.v1 import node_pb2

MAX_UPDATES = 256
"""Most frames that wait for the orchestrator. At this bound, nodes wait with their reports."""

MAX_FRAME_BYTES = 256 * 1024
"""Most bytes of the responses that are merged into one frame: 256 KiB."""

CLOSING_SECONDS = 0.02
"""How long the report that the last node of a run has ended waits for the end of its lanes, which the last frame reports: 20 ms."""


class EndingRun(Protocol):
    """What the queue reads of the run whose responses it has."""

    @property
    def is_finishing(self) -> bool:
        """Every node has ended, and nothing more is awaited: `finished` follows at once."""

    @property
    def is_closing(self) -> bool:
        """Whether every node has ended, and nothing but the close of their lanes is awaited."""


class Outlet:
    """The responses of one run on a session. They end with `finished`: what is sent later belongs to no other run."""

    def __init__(self, queue: ResponseQueue) -> None:
        self.finished = False
        """`finished` has left the queue."""
        self._queue = queue

    async def send(self, response: node_pb2.HostResponse) -> None:
        """Queues a frame for the orchestrator; waits while it is behind."""
        await self._queue.put(response, self)

    def try_send(self, response: node_pb2.HostResponse) -> bool:
        """Queues a frame for the orchestrator if it is not behind. Returns whether it did."""
        return self._queue.try_put(response, self)


class ResponseQueue:
    """The queue of one session."""

    def __init__(self, run: Callable[[], EndingRun | None]) -> None:
        """`run` returns the run that the session hosts now; None: there is none."""
        self.merges = False
        """Responses that wait are sent in one frame."""
        self.is_closed = False
        """It takes no further responses."""
        self.ends_after_queued = False
        """It was ended by `close_after_queued`."""
        self._run = run
        self._queue: asyncio.Queue[tuple[Outlet | None, node_pb2.HostResponse] | None] = asyncio.Queue(MAX_UPDATES)
        self._next: node_pb2.HostResponse | None = None
        """Taken from the queue, and too large for the present frame."""
        self._ended = False

    async def put(self, response: node_pb2.HostResponse, outlet: Outlet | None = None) -> None:
        """Queues a response; waits while the queue is full. It is dropped if the queue is closed, or if `outlet`, that of the run
        that it belongs to, has finished."""
        if not self.is_closed:
            await self._queue.put((outlet, response))

    def try_put(self, response: node_pb2.HostResponse, outlet: Outlet | None = None) -> bool:
        """The same without a wait. Returns whether the response was queued."""
        if self.is_closed or self._queue.full():
            return False
        self._queue.put_nowait((outlet, response))
        return True

    async def end(self) -> None:
        """Ends the frames after the queued responses; waits while the queue is full."""
        await self._queue.put(None)

    def close(self) -> None:
        """Takes no further responses. The frames end with `discard`, or have ended."""
        self.is_closed = True

    def close_after_queued(self) -> None:
        """Takes no further responses. The frames end after the queued ones."""
        self.is_closed = self.ends_after_queued = True
        if self._queue.empty():
            self._queue.put_nowait(None)

    def discard(self) -> None:
        """Ends the frames without the queued responses, unless `close_after_queued` has ended them."""
        if not self.ends_after_queued:
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)

    async def frames(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses, until the queue ends. Those that wait are merged if `merges` is set."""
        while (response := await self._take()) is not None:
            if self.merges:
                await self._merge_waiting(response)
            yield response

    async def _take(self) -> node_pb2.HostResponse | None:
        """The next response; None at the end of the queue."""
        response, self._next = self._next, None
        while response is None and not self._ended and not (self.ends_after_queued and self._queue.empty()):
            entry = await self._queue.get()
            if entry is None:
                self._ended = True
                return None
            outlet, response = entry
            if outlet is not None and outlet.finished:
                response = None
            elif outlet is not None:
                outlet.finished = response.HasField("finished")
        return response

    async def _merge_waiting(self, frame: node_pb2.HostResponse) -> None:
        """Adds the responses that wait to a frame. While a run finishes, its last responses are awaited: they come at once. While
        its lanes close they come soon, and are awaited for `CLOSING_SECONDS`."""
        size, last, ends_at = frame.ByteSize(), frame, 0.0
        while not last.HasField("finished"):
            run = self._run()
            if self._queue.empty() and (run is None or not run.is_finishing):
                if run is None or not run.is_closing:
                    return
                ends_at = ends_at or asyncio.get_running_loop().time() + CLOSING_SECONDS
                try:
                    async with asyncio.timeout_at(ends_at):
                        response = await self._take()
                except TimeoutError:
                    return
            else:
                response = await self._take()
            if response is None:
                return
            size += response.ByteSize()
            if size > MAX_FRAME_BYTES:
                self._next = response
                return
            last = frame.more.add()
            last.CopyFrom(response)
