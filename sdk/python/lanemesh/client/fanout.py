"""One reader of a run's updates, and any number of bounded views of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from lanemesh._aio.loops import check_loop
from lanemesh._aio.signal import Signal
from lanemesh.text_outputs import Entry, TextOutputs, first_of, last_of, size_of_entry

MAX_UPDATES = 256
"""Most updates that wait in a view; the run waits while one is full."""
MAX_BYTES = 1024 * 1024
"""Most bytes of updates that wait in a view, or one larger update."""
MAX_TAKEN = 64
"""Most text outputs that a view takes at once. They count as taken when it takes the next ones."""
ACKNOWLEDGED_UPDATES = 128
"""Number of taken updates after which they are acknowledged: half the window of a run's owner."""
ACKNOWLEDGED_BYTES = 64 * 1024
"""Bytes of taken updates after which they are acknowledged: 64 KiB."""

Wanted = Callable[[Entry], bool]


class Acknowledgement:
    """Acknowledges taken updates to a run, many at a time."""

    def __init__(self, acknowledge: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        self._taken = 0
        self._acknowledged = 0
        self._bytes = 0

    def took(self, sequence: int, size: int) -> None:
        """The program has taken the updates up to a number, which is not below an earlier one: `size` more bytes."""
        self._taken = sequence
        self._bytes += size
        if sequence - self._acknowledged >= ACKNOWLEDGED_UPDATES or self._bytes >= ACKNOWLEDGED_BYTES:
            self.flush()

    def is_due(self, received: int) -> bool:
        """Whether the run sends no update after `received` before one is acknowledged."""
        return received - self._acknowledged >= MAX_UPDATES

    def flush(self) -> None:
        """Acknowledges what was taken."""
        if self._taken > self._acknowledged:
            self._acknowledge(self._taken)
        self._acknowledged, self._bytes = self._taken, 0


class UpdateQueue:
    """The unread updates of a view: at most `MAX_UPDATES` updates or `MAX_BYTES`, the ones that it has just taken included."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._waiting: deque[tuple[Entry, int]] = deque()
        """Each with its bytes."""
        self._taken: Entry | None = None
        self._taken_bytes = 0
        self.updates = 0
        """Number of unread updates."""
        self.bytes = 0
        """Their bytes."""
        self.arrived = Signal()
        """Fires when updates were put, and when the run has ended."""

    def put(self, batch: Iterable[tuple[Entry, int]]) -> None:
        """Adds the updates that the view wants. `batch`: entries, each with its bytes."""
        has_put = False
        for sized in batch:
            entry, size = sized
            if self._wanted(entry):
                self._waiting.append(sized)
                self.updates += len(entry) if isinstance(entry, TextOutputs) else 1
                self.bytes += size
                has_put = True
        if has_put:
            self.arrived.fire()

    def take(self) -> Entry | None:
        """The next updates, at most 64; None if none waits. The ones taken before count as read."""
        if self._taken is not None:
            self.updates -= len(self._taken) if isinstance(self._taken, TextOutputs) else 1
            self.bytes -= self._taken_bytes
            self._taken = None
        if not self._waiting:
            return None
        entry, size = self._waiting.popleft()
        if isinstance(entry, TextOutputs) and len(entry) > MAX_TAKEN:
            rest = entry.part(MAX_TAKEN)
            self._waiting.appendleft((rest, rest.size))
            entry = entry.part(0, MAX_TAKEN)
            size = entry.size
        self._taken, self._taken_bytes = entry, size
        return entry

    def behind(self, received: int) -> int:
        """Number of updates that the view has not read, of those up to `received`. Updates that it does not want count only while
        it holds many bytes."""
        if self.bytes < ACKNOWLEDGED_BYTES:
            return self.updates
        oldest = self._taken if self._taken is not None else self._waiting[0][0]
        return received - first_of(oldest) + 1

    @property
    def is_full(self) -> bool:
        """Whether it accepts no more updates until one is read."""
        return self.updates >= MAX_UPDATES or self.bytes >= MAX_BYTES


class Fanout:
    """Reads updates from one source, once, and puts each into the queue of every open view.

    It reads while at least one view is open and none is full. A view that opens late gets the updates from then on.
    """

    def __init__(
        self,
        source: Callable[[], AsyncGenerator[Sequence[Entry], None]],
        acknowledge: Callable[[int], None] | None = None,
    ) -> None:
        """`source` is opened when the first view is. `acknowledge` is called with the number of the last update that the views
        have read, as far as the run waits for it."""
        self._source = source
        self._acknowledgement: Acknowledgement | None = None
        if acknowledge is not None:
            self._acknowledgement = Acknowledgement(acknowledge)
        self._received = 0
        self._received_bytes = 0
        self._read_to = 0
        self._read_bytes = 0
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
            self._note_read()
            self._capacity.fire()

    async def next(self, queue: UpdateQueue) -> Entry | None:
        """The next updates of a queue, at most 64; None at the end. They count as read when the next ones are requested. A
        cancelled wait loses nothing. Raises the errors of the source."""
        check_loop(self._loop, "this run")
        while (entry := queue.take()) is None:
            self._note_read(waits=True)
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            if self._capacity.waiters:  # what was taken before counts no more
                self._capacity.fire()
            await queue.arrived.wait()
        self._note_read()
        if self._capacity.waiters:
            self._capacity.fire()
        return entry

    def _note_read(self, *, waits: bool = False) -> None:
        """Acknowledges what every view has read. `waits`: a view waits for updates. Then few read ones are acknowledged as well, if
        the run may wait for that because another view is behind."""
        if self._acknowledgement is None:
            return
        behind = bytes_behind = 0
        for queue in self._queues:
            behind = max(behind, queue.behind(self._received))
            bytes_behind = max(bytes_behind, queue.bytes)
            waits = waits or bool(queue.arrived.waiters)
        read, read_bytes = self._received - behind, self._received_bytes - bytes_behind
        if read > self._read_to:
            self._acknowledgement.took(read, max(0, read_bytes - self._read_bytes))
            self._read_to, self._read_bytes = read, read_bytes
        if waits and self._acknowledgement.is_due(self._received):
            self._acknowledgement.flush()

    async def close(self) -> None:
        """Ends reading; open views end."""
        if self._reader is not None and self._loop is asyncio.get_running_loop():  # else it ended with its loop
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._end()

    async def _read(self) -> None:
        try:
            async with aclosing(self._source()) as batches:
                async for batch in batches:
                    while not self._queues:
                        await self._capacity.wait()
                    self._received = last_of(batch[-1])
                    sized = [(entry, size_of_entry(entry)) for entry in batch]
                    self._received_bytes += sum(size for _, size in sized)
                    for queue in self._queues:
                        queue.put(sized)
                    self._note_read()
                    while not self._queues or any(queue.is_full for queue in self._queues):
                        await self._capacity.wait()
        except Exception as error:
            self._error = error
        finally:
            self._end()

    def _end(self) -> None:
        self._ended = True
        # The run owns the source and this reader: a reference cycle would keep both.
        self._source, self._acknowledgement = _nothing, None
        for queue in self._queues:
            queue.arrived.fire()


async def _nothing() -> AsyncGenerator[Sequence[Entry], None]:
    """The source of a reader that has ended."""
    return
    yield
