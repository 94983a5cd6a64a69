"""The log of the updates of one run: numbers them without gaps and keeps them up to a bound, for its owner and watchers.

Node servers coalesce updates before they send them: see `lanemesh.server.host.reporting`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Protocol

from lanemesh._aio.signal import Signal
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, TextOutputs, each_update
from lanemesh.times import stamp
from lanemesh.v1 import run_pb2, update_pb2

from lanemesh_orchestrator.runs.kept_updates import KeptUpdates, Portion

MAX_UPDATES = 100_000
"""Most updates that a log keeps."""
SPARE_UPDATES = 1_000
"""Extra updates that a log without an owner keeps while its outputs wait for a reader; at most a quarter of its bound."""
MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of updates that a log keeps: 64 MiB."""
CALLER_UPDATES = 256
"""Number of updates that the program of the owner may lag behind before outputs wait, stored or not."""
CALLER_BYTES = 1024 * 1024
"""Bytes of updates that it may lag behind: 1 MiB."""
ALONE_BYTES = 256 * 1024
"""Bytes of unacknowledged updates up to which a larger update is sent although it exceeds the window: 256 KiB."""
OFFERED_TIMES = 4
"""Factor of the owner's permitted lag in updates above which optional updates are dropped."""

MAX_BATCH_UPDATES = 256
"""Most updates that are sent in one frame."""
MAX_BATCH_BYTES = 256 * 1024
"""Most bytes of updates in one frame: 256 KiB; one larger update is sent alone."""


Batch = Sequence[Entry] | run_pb2.Gap
"""Consecutive updates, or a gap of updates that are no longer kept."""


class Sink(Protocol):
    """Stores the updates of a run. An update is readable only after it is stored."""

    @property
    def is_behind(self) -> bool:
        """Whether so many updates wait to be stored that outputs should wait."""

    async def caught_up(self) -> None:
        """Waits until some of these updates are stored, or storing has failed for good."""

    def add(self, entry: Entry, size: int) -> None:
        """Enqueues one or more updates of `size` bytes. Calls `UpdateLog.written` when they are stored."""


class UpdateLog:
    """The updates of one run.

    The caller of `Run` owns the run. It acknowledges the updates that its program has taken, and outputs wait while it lags far
    behind. Without an owner, outputs wait while unread updates fill the log. Other updates are numbered at once, and the oldest
    updates are dropped at the bound.
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
        self._offered = 0
        """Number of optional updates since the last read."""
        self._max_updates = max_updates
        self._max_bytes = max_bytes
        self._kept = KeptUpdates()
        self._read = 0
        self._read_bytes = 0
        self._sent: deque[Portion] = deque()
        """What the owner was given and has not acknowledged."""
        self._sent_to = 0
        self._sent_bytes = 0
        """Bytes of all updates up to `_sent_to`."""
        self._abandoned = False
        self._appended = Signal()
        self._advanced = Signal()

    @property
    def kept_bytes(self) -> int:
        """Bytes of the kept updates."""
        return self._kept.bytes

    def append(self, update: update_pb2.Update) -> None:
        """Numbers and appends an update, and wakes every reader. Does nothing after `close`."""
        if self.closed:
            return
        self.last += 1
        update.sequence = self.last
        if not update.HasField("time"):
            stamp(update.time)
        self._append(update, update.ByteSize())

    def append_texts(self, component: str, port: str, texts: list[str]) -> None:
        """Numbers and appends outputs of plain texts, and wakes every reader. Does nothing after `close`."""
        if self.closed:
            return
        outputs = TextOutputs(component, port, texts, first=self.last + 1, time=time.time_ns())
        self.last += len(texts)
        self._append(outputs, outputs.size)

    def _append(self, entry: Entry, size: int) -> None:
        kept = self._kept
        kept.append(entry, size)
        if self.last + 1 - kept.first > self._max_updates or kept.bytes > self._max_bytes:
            kept.trim(self._most_kept(), self._max_bytes)
        if self.sink is not None:
            self.sink.add(entry, size)
        elif self._appended.waiters:
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

        The limit is four times the lag in updates at which outputs wait for an owner, and the same lag in bytes. Without an owner
        it is the lag at which outputs wait, because the log is full then and unread updates would be dropped. Optional updates
        take at most a tenth of an unread log, so that they do not make outputs wait.
        """
        times = 1 if self._paced else OFFERED_TIMES
        if self.closed or self._is_ahead(times) or (self.sink is not None and self.sink.is_behind):
            return False
        if self._paced and self._offered >= self._max_updates // 10:
            return False
        self._offered += 1
        self.append(update)
        return True

    def store_again(self, sink: Sink) -> None:
        """Resumes storing: the kept updates that are not stored, and all later ones. Readers may have read them already."""
        unstored = [*self._kept.after(self._stored)]
        self._stored = self.last
        self.sink = sink
        for entry, size in unstored:
            sink.add(entry, size)

    async def wait_for_capacity(self) -> None:
        """Waits until the log has capacity for another output."""
        while not self.closed and not self._abandoned and self._is_ahead():
            await self._advanced.wait()
        while self.sink is not None and self.sink.is_behind:
            await self.sink.caught_up()

    async def capacity(self) -> tuple[int, int]:
        """Waits until the log has capacity for another output. Returns the numbers of updates and of bytes for which it has
        capacity; both are at least 1."""
        await self.wait_for_capacity()
        if self.closed or self._abandoned:
            return MAX_BATCH_UPDATES, MAX_BATCH_BYTES
        updates = self._ahead_updates - (self.last - self._read)
        size = self._ahead_bytes - (self._kept.total - self._read_bytes)
        return max(1, min(updates, MAX_BATCH_UPDATES)), max(1, min(size, MAX_BATCH_BYTES))

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
            if wanted < self._kept.first:
                last = self._kept.first - 1
                yield run_pb2.Gap(from_sequence=wanted, to_sequence=last)
                wanted = last + 1
            elif wanted <= self._readable:
                found = self._kept.portion(wanted, wanted, most=1, most_bytes=MAX_BATCH_BYTES)
                wanted += 1
                for update in each_update(found.entries):
                    yield update
                if paces:
                    self._note_read(found.last, found.total)
            elif self.closed and wanted > self.last:
                return
            else:
                await self._appended.wait()

    async def batches(self, from_sequence: int = 1, *, paces: bool = True) -> AsyncGenerator[Batch, None]:
        """Yields what `read` yields, in batches. A batch has all readable updates, at most 256 of them or 256 KiB. Requesting the
        next batch acknowledges the previous one."""
        wanted = max(1, from_sequence)
        while True:
            if wanted < self._kept.first:
                last = self._kept.first - 1
                yield run_pb2.Gap(from_sequence=wanted, to_sequence=last)
                wanted = last + 1
            elif wanted <= self._readable:
                found = self._kept.portion(wanted, self._readable, most=MAX_BATCH_UPDATES, most_bytes=MAX_BATCH_BYTES)
                wanted = found.last + 1
                yield found.entries
                if paces:
                    self._note_read(found.last, found.total)
            elif self.closed and wanted > self.last:
                return
            else:
                await self._appended.wait()

    # The owner, which acknowledges what it has taken

    async def owned_batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        """Yields all updates for the owner, in batches as `batches`, within the window: at most 256 updates or 1 MiB are given and
        not acknowledged. An update that is larger than the rest of the window is given once at most 256 KiB are not acknowledged.

        Raises:
            LanemeshError: updates were dropped that the owner had not read.
        """
        while True:
            wanted = self._sent_to + 1
            if wanted < self._kept.first:
                raise _dropped(wanted, self._kept.first - 1)
            found = self._next_for_owner(wanted)
            if found is not None:
                self._sent.append(found)
                self._sent_to, self._sent_bytes = found.last, found.total
                yield found.entries
            elif self.closed and wanted > self.last:
                return
            else:
                await self._appended.wait()

    def _next_for_owner(self, wanted: int) -> Portion | None:
        """The next updates within the window; None if there is none now."""
        updates = self._read + CALLER_UPDATES - self._sent_to
        if wanted > self._readable or updates <= 0:
            return None
        unacknowledged = self._sent_bytes - self._read_bytes
        size = max(1, min(MAX_BATCH_BYTES, CALLER_BYTES - unacknowledged))
        found = self._kept.portion(wanted, self._readable, most=min(MAX_BATCH_UPDATES, updates), most_bytes=size)
        if unacknowledged + found.size > CALLER_BYTES and unacknowledged > ALONE_BYTES:
            return None
        return found

    def acknowledge(self, sequence: int) -> None:
        """Records that the owner's program has taken the updates up to a number.

        Raises:
            LanemeshError: the update was not given to the owner, or an update after it was acknowledged before.
        """
        if not self._read <= sequence <= self._sent_to:
            raise self._bad_acknowledgement(sequence)
        while self._sent and self._sent[0].last <= sequence:
            self._note_read(self._sent[0].last, self._sent.popleft().total)
        if sequence > self._read:  # in the middle of a batch
            self._note_read(sequence, self._sent[0].total_at(sequence))
        self._appended.fire()

    def _bad_acknowledgement(self, sequence: int) -> LanemeshError:
        if sequence > self._sent_to:
            why = f"the last update that was sent has the number {self._sent_to}"
        else:
            why = f"update {self._read} was acknowledged before"
        message = f"the client acknowledged update {sequence}, but {why}. Acknowledge the number of the last update that was taken"
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-acknowledgement", message=message))

    @property
    def _readable(self) -> int:
        """Number of the latest readable update."""
        return self.last if self.sink is None else self._stored

    def _most_kept(self) -> int:
        """Most updates that are kept now. The bound is larger while unread outputs fill the log, so that the few updates of states
        that arrive meanwhile do not displace outputs."""
        is_unread = self._paced and self._kept.first > self._read
        return self._max_updates + min(SPARE_UPDATES, self._max_updates // 4) * is_unread

    def _is_ahead(self, times: int = 1) -> bool:
        updates, bytes_ahead = self.last - self._read, self._kept.total - self._read_bytes
        return updates >= times * self._ahead_updates or bytes_ahead >= self._ahead_bytes

    def _note_read(self, sequence: int, total_bytes: int) -> None:
        if sequence > self._read:
            self._read, self._read_bytes = sequence, total_bytes
            self._offered = 0
            if self._advanced.waiters:
                self._advanced.fire()


def _dropped(first: int, last: int) -> LanemeshError:
    message = (
        f"updates {first} to {last} were dropped, because the client did not read for too long. Read the run while it goes on, or "
        "start it detached"
    )
    return LanemeshError(Fault(code=Code.DATA_LOSS, reason="updates-dropped", message=message))


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
