"""The `Host` streams to node servers that wait for their next run, so that most runs open none."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from lanemesh._grpc.connections import ConnectionPool
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    import grpc.aio
    from lanemesh._grpc.security import Security

MAX_SPARE = 32
"""Most streams to one address that wait for a run."""
CLOSE_SECONDS = 2.0
"""How long a node server may take to end the stream after a half-close, before it is cancelled."""
SPARE_SECONDS = 300.0
"""How long a stream waits for a run before it is closed."""


class HostStream:
    """One `Host` stream to a node server. It carries one run at a time."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        from lanemesh.v1.node_pb2_grpc import NodeServiceStub

        self.channel = channel  # closed when the last reference to it is dropped
        self.call = NodeServiceStub(channel).Host()
        self.used = False
        """It has carried a run that has finished."""
        self.ahead: asyncio.Future[Any] | None = None
        """The read that `read_ahead` has begun, until its frame is taken."""
        self._writing = asyncio.Lock()

    async def write(self, request: node_pb2.HostRequest) -> None:
        """Writes a frame, after those before it."""
        async with self._writing:
            await self.call.write(request)

    async def read(self) -> Any:
        """The next frame, or `grpc.aio.EOF`. If `read_ahead` was called, the frame that it reads."""
        reading, self.ahead = self.ahead, None
        return await (self.call.read() if reading is None else reading)

    def read_ahead(self) -> asyncio.Future[Any]:
        """Reads the next frame in the background, unless that has begun already: gRPC rejects the second of two reads, and the
        first one would get the frame."""
        if self.ahead is None:
            self.ahead = asyncio.ensure_future(self.call.read())
        return self.ahead

    async def close(self) -> None:
        """Half-closes the stream, and cancels it if the server does not end it within 2 s."""
        import grpc.aio
        from lanemesh._grpc.writing import half_close

        reading, self.ahead = self.ahead, None
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                async with self._writing:
                    await half_close(self.call)
                await self.call.code()
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self.call.cancel()
        if reading is not None:
            await asyncio.gather(reading, return_exceptions=True)


class HostStreams:
    """Opens streams, and keeps those of finished runs for later ones: up to 32 for each address, for 300 s."""

    def __init__(self, can_reuse: Callable[[str], bool], security: Security | None = None) -> None:
        """`can_reuse` returns whether the server at an address accepts several runs on one stream. `security`: TLS and the token of
        the connections; None: what the environment sets."""
        self._can_reuse = can_reuse
        self._pool = ConnectionPool(security=security)
        self._spare: dict[str, deque[HostStream]] = {}
        self._since: dict[HostStream, tuple[str, float]] = {}
        """The spare streams, those that have waited longest first: the address of each, and since when it waits."""
        self._timer: asyncio.TimerHandle | None = None
        """Closes spare streams that have waited for `SPARE_SECONDS`, as long as there are any."""
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def closing(self) -> int:
        """Number of streams that are being closed."""
        return len(self._closing)

    @property
    def spare(self) -> int:
        """Number of streams that wait for a run."""
        return sum(len(streams) for streams in self._spare.values())

    def open(self, address: str) -> HostStream:
        """A new stream."""
        return HostStream(self._pool.channel(address))

    def take(self, address: str) -> HostStream:
        """The stream that was used last, or a new one. The run that gets it must notice if the stream has ended meanwhile."""
        spare = self._spare.get(address)
        if not spare:
            return self.open(address)
        stream = spare.pop()
        if not spare:
            del self._spare[address]
        del self._since[stream]
        return stream

    def give_back(self, address: str, stream: HostStream) -> None:
        """Keeps the stream of a finished run, or closes it in the background if it is not needed or of no use."""
        spare = self._spare.get(address, ())
        if self._closed or len(spare) >= MAX_SPARE or not self._can_reuse(address) or stream.call.done():
            self._close(address, stream)
            return
        stream.used = True
        self._spare.setdefault(address, deque()).append(stream)
        loop = asyncio.get_running_loop()
        self._since[stream] = address, loop.time()
        if self._timer is None:
            self._timer = loop.call_later(SPARE_SECONDS, self._discard_old)
        self._watch(address, stream)

    async def close(self) -> None:
        """Closes the streams that wait for a run, and the connections."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for address, streams in list(self._spare.items()):
            for stream in list(streams):
                self._discard(address, stream)
        await asyncio.gather(*self._closing)
        await self._pool.close()

    def _watch(self, address: str, stream: HostStream) -> None:
        """Notices the end of a stream that waits. The frame that it reads is for the next run, unless it is a heartbeat."""
        stream.read_ahead().add_done_callback(partial(self._heard, address, stream))

    def _heard(self, address: str, stream: HostStream, reading: asyncio.Future[Any]) -> None:
        ended = reading.cancelled() or reading.exception() is not None
        if stream not in self._since:  # a run has it, or it is being closed
            return
        if stream.ahead is not reading:  # handled: a run that did not begin has given the stream back meanwhile
            return
        frame = None if ended else reading.result()
        if isinstance(frame, node_pb2.HostResponse) and frame.WhichOneof("frame") is None:
            stream.ahead = None
            self._watch(address, stream)
        else:
            self._discard(address, stream)

    def _discard_old(self) -> None:
        """Closes the streams that have waited for too long, and looks again when the next one has."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._since:
            stream, (address, since) = next(iter(self._since.items()))
            if loop.time() < since + SPARE_SECONDS:
                self._timer = loop.call_at(since + SPARE_SECONDS, self._discard_old)
                return
            self._discard(address, stream)

    def _discard(self, address: str, stream: HostStream) -> None:
        del self._since[stream]
        self._spare[address].remove(stream)
        if not self._spare[address]:
            del self._spare[address]
        self._close(address, stream)

    def _close(self, address: str, stream: HostStream) -> None:
        task = asyncio.create_task(stream.close(), name=f"close a stream to {address}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
