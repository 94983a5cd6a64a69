"""One reader of a run's updates, and any number of bounded views of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from lanemesh._aio.loops import check_loop
from lanemesh._aio.signal import Signal
from lanemesh.v1 import update_pb2

MAX_UPDATES = 64
"""Most updates that wait in a view; the run waits while one is full."""
MAX_BYTES = 1024 * 1024
"""Most bytes of updates that wait in a view, or one larger update."""

Wanted = Callable[[update_pb2.Update], bool]


class UpdateQueue:
    """The unread updates of a view: at most `MAX_UPDATES` updates or `MAX_BYTES`."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._waiting: deque[tuple[update_pb2.Update, int]] = deque()
        self._bytes = 0
        self.arrived = Signal()
        """Fires when an update was put, and when the run has ended."""

    def put(self, update: update_pb2.Update) -> None:
        """Adds an update, if the view wants it."""
        if self._wanted(update):
            size = update.ByteSize()
            self._waiting.append((update, size))
            self._bytes += size
            self.arrived.fire()

    def take(self) -> update_pb2.Update | None:
        """The next update; None if none waits."""
        if not self._waiting:
            return None
        update, size = self._waiting.popleft()
        self._bytes -= size
        return update

    @property
    def is_full(self) -> bool:
        """Whether it accepts no more updates until one is read."""
        return len(self._waiting) >= MAX_UPDATES or self._bytes >= MAX_BYTES


class Fanout:
    """Reads updates from one source, once, and puts each into the queue of every open view.

    It reads while at least one view is open and none is full. A view that opens late gets the updates from then on.
    """

    def __init__(self, source: Callable[[], AsyncGenerator[update_pb2.Update, None]]) -> None:
        """`source` is opened when the first view is."""
        self._source = source
        self._queues: list[UpdateQueue] = []
        self._capacity = Signal()
        self._reader: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._ended = False

    @property
    def has_ended(self) -> bool:
        """Whether the source has no more updates."""
        return self._ended

    @property
    def is_watched(self) -> bool:
        """Whether a view is open."""
        return bool(self._queues)

    def open(self, wanted: Wanted) -> UpdateQueue:
        """A queue of the wanted updates, from now on."""
        check_loop(self._loop, "this run")
        queue = UpdateQueue(wanted)
        self._queues.append(queue)
        self._capacity.fire()
        if self._reader is None:
            self._loop = asyncio.get_running_loop()
            self._reader = self._loop.create_task(self._read(), name="run updates")
        return queue

    def release(self, queue: UpdateQueue) -> None:
        """Closes a queue; its waiting updates are dropped."""
        if queue in self._queues:
            self._queues.remove(queue)
            self._capacity.fire()

    async def next(self, queue: UpdateQueue) -> update_pb2.Update | None:
        """The next update of a queue; None at the end. A cancelled wait loses nothing. Raises the errors of the source."""
        check_loop(self._loop, "this run")
        while (update := queue.take()) is None:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            await queue.arrived.wait()
        if self._capacity.waiters:
            self._capacity.fire()
        return update

    async def close(self) -> None:
        """Ends reading; open views end."""
        if self._reader is not None and self._loop is asyncio.get_running_loop():  # else it ended with its loop
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._end()

    async def _read(self) -> None:
        try:
            async with aclosing(self._source()) as updates:
                async for update in updates:
                    for queue in self._queues:
                        queue.put(update)
                    while not self._queues or any(queue.is_full for queue in self._queues):
                        await self._capacity.wait()
        except Exception as error:
            self._error = error
        finally:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._source = _nothing  # the run owns the source and this reader: a reference cycle would keep both
        for queue in self._queues:
            queue.arrived.fire()


async def _nothing() -> AsyncGenerator[update_pb2.Update, None]:
    """The source of a reader that has ended."""
    return
    yield
