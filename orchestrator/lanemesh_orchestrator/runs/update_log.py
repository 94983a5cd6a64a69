"""The updates of one run: numbered without gaps, kept up to a bound, read by its caller and by watchers.

Updates are coalesced before they get here, where they arise: `lanemesh.server.host.reporting` does that on each node server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Protocol

from lanemesh._aio.signal import Signal
from lanemesh.times import stamp
from lanemesh.v1 import run_pb2, update_pb2

MAX_UPDATES = 100_000
"""Most updates that a log keeps."""
SPARE_UPDATES = 1_000
"""How many more a log without an owner keeps while outputs in it wait for a reader; a quarter more if that is fewer."""
MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of updates that a log keeps: 64 MiB."""
CALLER_UPDATES = 256
"""How many updates the caller who owns a run may be behind before its outputs wait; four times as many where updates are stored."""
CALLER_BYTES = 4 * 1024 * 1024
"""How many bytes it may be behind: 4 MiB; four times as many where updates are stored."""

MAX_BATCH_UPDATES = 256
"""Most updates that are sent in one frame."""
MAX_BATCH_BYTES = 256 * 1024
"""Most bytes of updates in one frame: 256 KiB; one larger update is sent alone."""

STORED_TIMES = 4
"""How many times further behind the caller may be where updates are stored, since nobody reads one before it is."""


Batch = Sequence[update_pb2.Update] | run_pb2.Gap
"""Updates that follow each other, at least one; or that some are no longer kept."""


class Sink(Protocol):
    """Stores the updates of a run. Nobody reads one before it is stored."""

    @property
    def is_behind(self) -> bool:
        """So much waits to be stored that outputs should wait."""

    async def caught_up(self) -> None:
        """Waits until some of it is stored, or never will be."""

    def add(self, update: update_pb2.Update, size: int) -> None:
        """Takes an update of so many bytes. `UpdateLog.written` tells that it is stored."""


class UpdateLog:
    """The updates of one run.

    The caller of `Run` owns the run, and outputs wait for it when it is far behind. Without an owner, outputs wait once what
    nobody has read fills the log. All else is numbered at once, and the oldest updates are dropped at the bound.
    """

    def __init__(self, *, owned: bool, max_updates: int = MAX_UPDATES, max_bytes: int = MAX_BYTES) -> None:
        self.last = 0
        """Number of the latest update."""
        self.closed = False
        """The terminal update is in."""
        self.sink: Sink | None = None
        """Stores the updates. Set before there are any."""
        self._stored = 0
        """Number of the latest update that is stored, if there is a sink."""
        self._ahead_updates, self._ahead_bytes = (CALLER_UPDATES, CALLER_BYTES) if owned else (max_updates, max_bytes)
        self._paced = not owned
        """Outputs wait when the log is full."""
        self._offers_ahead = 4 if owned else 1
        self._offered = 0
        """Updates that could have been left out, since somebody has read."""
        self._max_updates = max_updates
        self._max_bytes = max_bytes
        self._kept: deque[tuple[update_pb2.Update, int, int]] = deque()
        """Updates, each with its bytes and those of all updates up to it."""
        self.kept_bytes = 0
        """Bytes of the updates that are kept."""
        self._total_bytes = 0
        self._read = 0
        self._read_bytes = 0
        self._abandoned = False
        self._appended = Signal()
        self._advanced = Signal()

    def append(self, update: update_pb2.Update) -> None:
        """Numbers an update and tells every reader. Nothing is appended after `close`."""
        if self.closed:
            return
        self.last += 1
        update.sequence = self.last
        if not update.HasField("time"):
            stamp(update.time)
        size = update.ByteSize()
        self._total_bytes += size
        self._kept.append((update, size, self._total_bytes))
        self.kept_bytes += size
        while len(self._kept) > self._most_kept() or (self.kept_bytes > self._max_bytes and len(self._kept) > 1):
            self.kept_bytes -= self._kept.popleft()[1]
        if self.sink is not None:
            self.sink.add(update, size)
        else:
            self._appended.fire()

    def written(self, sequence: int) -> None:
        """The updates up to a number are stored."""
        self._stored = max(self._stored, sequence)
        self._appended.fire()

    async def begun(self) -> None:
        """Waits until the first update is stored, if updates are: from then on the run is known, whatever happens here."""
        while self.sink is not None and not self._stored:
            await self._appended.wait()

    def unstored(self) -> None:
        """Nothing more is stored: readers see what there is."""
        self.sink = None
        self._appended.fire()
        self._advanced.fire()

    def offer(self, update: update_pb2.Update) -> bool:
        """Appends an update that may be left out, unless who reads is far behind. Returns whether it did.

        Far is four times as far as an owner may be before outputs wait; without an owner no further than that, since the log is
        full then, and what nobody has read would be dropped. A tenth of a log that nobody reads is for such updates, so that they
        make no outputs wait.
        """
        if self.closed or self._is_ahead(self._offers_ahead) or (self.sink is not None and self.sink.is_behind):
            return False
        if self._paced and self._offered >= self._max_updates // 10:
            return False
        self._offered += 1
        self.append(update)
        return True

    def store_again(self, sink: Sink) -> None:
        """Updates can be stored again: all that are not, as far as they are kept, and those to come. Readers have seen them."""
        unstored = [(update, size) for update, size, _ in self._kept if update.sequence > self._stored]
        self._stored = self.last
        self.sink = sink
        for update, size in unstored:
            sink.add(update, size)

    async def room(self) -> None:
        """Waits until another output may be appended."""
        while not self.closed and not self._abandoned and self._is_ahead():
            await self._advanced.wait()
        while self.sink is not None and self.sink.is_behind:
            await self.sink.caught_up()

    def close(self) -> None:
        """The latest update was the terminal one."""
        self.closed = True
        self._appended.fire()
        self._advanced.fire()

    def abandon(self) -> None:
        """The owner has gone: outputs wait for nobody."""
        self._abandoned = True
        self._advanced.fire()

    async def read(
        self, from_sequence: int = 1, *, paces: bool = True
    ) -> AsyncGenerator[update_pb2.Update | run_pb2.Gap, None]:
        """The updates from a number on, to the terminal one; where the log has dropped some, what was missed.

        `paces`: outputs wait for this reader, as they do for the owner, or for whoever reads a run without one.
        """
        wanted = max(1, from_sequence)
        while True:
            first = self.last - len(self._kept) + 1
            if wanted < first:
                yield run_pb2.Gap(from_sequence=wanted, to_sequence=first - 1)
                wanted = first
            elif wanted <= self._readable:
                update, _, total = self._kept[wanted - first]
                wanted += 1
                yield update
                if paces:
                    self._note_read(update.sequence, total)
            elif self.closed and wanted > self.last:
                return
            else:
                await self._appended.wait()

    async def batches(self, from_sequence: int = 1, *, paces: bool = True) -> AsyncGenerator[Batch, None]:
        """The same as `read`, in batches: each has all updates that can be read when it is asked for, at most 256 of them or
        256 KiB. Asking for the next batch acknowledges the last one."""
        wanted = max(1, from_sequence)
        while True:
            first = self.last - len(self._kept) + 1
            if wanted < first:
                yield run_pb2.Gap(from_sequence=wanted, to_sequence=first - 1)
                wanted = first
            elif wanted <= self._readable:
                batch, total = self._batch(wanted - first, self._readable - wanted + 1)
                wanted += len(batch)
                yield batch
                if paces:
                    self._note_read(wanted - 1, total)
            elif self.closed and wanted > self.last:
                return
            else:
                await self._appended.wait()

    def _batch(self, start: int, readable: int) -> tuple[list[update_pb2.Update], int]:
        """The updates from a place among the kept ones on, as many as fit in one frame, and the bytes of all updates up to them."""
        update, size, total = self._kept[start]
        batch = [update]
        for place in range(start + 1, start + min(readable, MAX_BATCH_UPDATES)):
            update, more, up_to = self._kept[place]
            size += more
            if size > MAX_BATCH_BYTES:
                break
            batch.append(update)
            total = up_to
        return batch, total

    @property
    def _readable(self) -> int:
        """Number of the latest update that may be read."""
        return self.last if self.sink is None else self._stored

    def _most_kept(self) -> int:
        """How many updates may be kept. Outputs that fill the log and wait for a reader are not to be dropped for the sake of the
        few updates of states that come meanwhile, so that there is some more room for these."""
        nobody_yet = self._paced and self._kept[0][0].sequence > self._read
        return self._max_updates + min(SPARE_UPDATES, self._max_updates // 4) * nobody_yet

    def _is_ahead(self, times: int = 1) -> bool:
        if self.sink is not None and not self._paced:
            times = max(times, STORED_TIMES)
        updates, bytes_ahead = self.last - self._read, self._total_bytes - self._read_bytes
        return updates >= times * self._ahead_updates or bytes_ahead >= times * self._ahead_bytes

    def _note_read(self, sequence: int, total_bytes: int) -> None:
        if sequence > self._read:
            self._read, self._read_bytes = sequence, total_bytes
            self._offered = 0
            self._advanced.fire()


def in_batches(updates: Sequence[update_pb2.Update]) -> Iterator[Sequence[update_pb2.Update]]:
    """Updates as frames hold them: at most 256 of them or 256 KiB, or one larger one."""
    batch: list[update_pb2.Update] = []
    size = 0
    for update in updates:
        more = update.ByteSize()
        if batch and (len(batch) == MAX_BATCH_UPDATES or size + more > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(update)
        size += more
    if batch:
        yield batch
