"""The log of the updates of one run: numbers them without gaps and keeps them up to a bound, for its owner and watchers.

Node servers coalesce updates before they send them: see `lanemesh.server.host.reporting`.
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
"""Extra updates that a log without an owner keeps while its outputs wait for a reader; at most a quarter of its bound."""
MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of updates that a log keeps: 64 MiB."""
CALLER_UPDATES = 256
"""Number of updates that the owner of a run may lag behind before outputs wait; four times as many if updates are stored."""
CALLER_BYTES = 4 * 1024 * 1024
"""Bytes of updates that the owner may lag behind: 4 MiB; four times as many if updates are stored."""

MAX_BATCH_UPDATES = 256
"""Most updates that are sent in one frame."""
MAX_BATCH_BYTES = 256 * 1024
"""Most bytes of updates in one frame: 256 KiB; one larger update is sent alone."""

STORED_TIMES = 4
"""Factor of the owner's permitted lag if updates are stored, because an update is readable only after it is stored."""


Batch = Sequence[update_pb2.Update] | run_pb2.Gap
"""One or more consecutive updates, or a gap of updates that are no longer kept."""


class Sink(Protocol):
    """Stores the updates of a run. An update is readable only after it is stored."""

    @property
    def is_behind(self) -> bool:
        """Whether so many updates wait to be stored that outputs should wait."""

    async def caught_up(self) -> None:
        """Waits until some of these updates are stored, or storing has failed for good."""

    def add(self, update: update_pb2.Update, size: int) -> None:
        """Enqueues an update of `size` bytes. Calls `UpdateLog.written` when it is stored."""


class UpdateLog:
    """The updates of one run.

    The caller of `Run` owns the run, and outputs wait while it lags far behind. Without an owner, outputs wait while unread
    updates fill the log. Other updates are numbered at once, and the oldest updates are dropped at the bound.
    """

    def __init__(self, *, owned: bool, max_updates: int = MAX_UPDATES, max_bytes: int = MAX_BYTES) -> None:
        self.last = 0
        """Number of the latest update."""
        self.closed = False
        """Whether the terminal update was appended."""
        self.sink: Sink | None = None
        """Stores the updates; set before the first one."""
        self._stored = 0
        """Number of the latest stored update, if there is a sink."""
        self._ahead_updates, self._ahead_bytes = (CALLER_UPDATES, CALLER_BYTES) if owned else (max_updates, max_bytes)
        self._paced = not owned
        """Whether outputs wait while the log is full."""
        self._offers_ahead = 4 if owned else 1
        self._offered = 0
        """Number of optional updates since the last read."""
        self._max_updates = max_updates
        self._max_bytes = max_bytes
        self._kept: deque[tuple[update_pb2.Update, int, int]] = deque()
        """Updates, each with its size and the total size of all updates up to it."""
        self.kept_bytes = 0
        """Bytes of the kept updates."""
        self._total_bytes = 0
        self._read = 0
        self._read_bytes = 0
        self._abandoned = False
        self._appended = Signal()
        self._advanced = Signal()

    def append(self, update: update_pb2.Update) -> None:
        """Numbers and appends an update, and wakes every reader. Does nothing after `close`."""
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
        """Records that the updates up to a number are stored."""
        self._stored = max(self._stored, sequence)
        self._appended.fire()

    async def begun(self) -> None:
        """Waits until the first update is stored, if there is a sink. From then on the run survives a crash of this process."""
        while self.sink is not None and not self._stored:
            await self._appended.wait()

    def unstored(self) -> None:
        """Handles the failure of the sink: updates become readable without being stored."""
        self.sink = None
        self._appended.fire()
        self._advanced.fire()

    def offer(self, update: update_pb2.Update) -> bool:
        """Appends an optional update, unless its reader lags far behind. Returns whether the update was appended.

        The limit is four times the lag at which outputs wait for an owner. Without an owner it is the lag at which outputs wait,
        because the log is full then and unread updates would be dropped. Optional updates take at most a tenth of an unread log,
        so that they do not make outputs wait.
        """
        if self.closed or self._is_ahead(self._offers_ahead) or (self.sink is not None and self.sink.is_behind):
            return False
        if self._paced and self._offered >= self._max_updates // 10:
            return False
        self._offered += 1
        self.append(update)
        return True

    def store_again(self, sink: Sink) -> None:
        """Resumes storing: the kept updates that are not stored, and all later ones. Readers may have read them already."""
        unstored = [(update, size) for update, size, _ in self._kept if update.sequence > self._stored]
        self._stored = self.last
        self.sink = sink
        for update, size in unstored:
            sink.add(update, size)

    async def wait_for_capacity(self) -> None:
        """Waits until the log has capacity for another output."""
        while not self.closed and not self._abandoned and self._is_ahead():
            await self._advanced.wait()
        while self.sink is not None and self.sink.is_behind:
            await self.sink.caught_up()

    def close(self) -> None:
        """Closes the log after the terminal update."""
        self.closed = True
        self._appended.fire()
        self._advanced.fire()

    def abandon(self) -> None:
        """Handles the disconnection of the owner: outputs no longer wait."""
        self._abandoned = True
        self._advanced.fire()

    async def read(
        self, from_sequence: int = 1, *, paces: bool = True
    ) -> AsyncGenerator[update_pb2.Update | run_pb2.Gap, None]:
        """Yields the updates from a sequence number to the terminal one, and a gap for dropped updates.

        `paces`: whether outputs wait for this reader. They wait for the owner, or for the readers of a run without an owner.
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
        """Yields what `read` yields, in batches. A batch has all readable updates, at most 256 of them or 256 KiB. Requesting the
        next batch acknowledges the previous one."""
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
        """The kept updates from an index on that fit in one frame, and the total bytes of all updates up to the last of them."""
        update, size, total = self._kept[start]
        batch = [update]
        for index in range(start + 1, start + min(readable, MAX_BATCH_UPDATES)):
            update, more, up_to = self._kept[index]
            size += more
            if size > MAX_BATCH_BYTES:
                break
            batch.append(update)
            total = up_to
        return batch, total

    @property
    def _readable(self) -> int:
        """Number of the latest readable update."""
        return self.last if self.sink is None else self._stored

    def _most_kept(self) -> int:
        """Most updates that are kept now. The bound is larger while unread outputs fill the log, so that the few updates of states
        that arrive meanwhile do not displace outputs."""
        is_unread = self._paced and self._kept[0][0].sequence > self._read
        return self._max_updates + min(SPARE_UPDATES, self._max_updates // 4) * is_unread

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
    """Splits updates into batches for frames: at most 256 updates or 256 KiB, or one larger update."""
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
