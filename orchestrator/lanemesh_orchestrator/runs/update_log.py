"""The log of the updates of one run: numbers them without gaps and keeps them within a budget, for its owner and watchers.

Node servers coalesce updates before they send them: see `lanemesh.server.host.reporting`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from math import inf
from typing import Protocol

from lanemesh._aio.signal import Signal
from lanemesh.text_outputs import Entry, TextOutputs, each_update
from lanemesh.times import stamp
from lanemesh.v1 import run_pb2, update_pb2

from lanemesh_orchestrator.runs.batches import MAX_BATCH_BYTES, MAX_BATCH_UPDATES, Batch
from lanemesh_orchestrator.runs.kept_updates import KeptUpdates, weight_of
from lanemesh_orchestrator.runs.owner_window import OwnerWindow
from lanemesh_orchestrator.runs.retention import RunMemory, Tail

MAX_OPTIONAL_UPDATES = 10_000
"""Most optional updates, such as log lines, that a log without an owner takes between two reads."""
MAX_OPTIONAL_BYTES = 4 * 1024 * 1024
"""Most bytes of them: 4 MiB."""
OFFERED_TIMES = 4
"""Factor of the owner's permitted lag in updates above which optional updates are dropped."""

PASSES = 4
"""How often a reader that was woken by states alone lets other work of the event loop run, which may append more."""
HELD = frozenset({"node", "edge"})
"""Kinds of updates that wait for others, for `HOLD_SECONDS` at most. So does the state `starting`."""
HOLD_SECONDS = 0.01
"""How long they wait for another update, which is sent at once: 10 ms. A frame costs more than all that a short run does in the
meantime."""


class Sink(Protocol):
    """Stores the updates of a run. An update is readable only after it is stored."""

    @property
    def is_behind(self) -> bool:
        """Whether so many updates wait to be stored that outputs should wait."""

    @property
    def capacity(self) -> int:
        """The number of updates that may be added before outputs should wait."""

    async def caught_up(self) -> None:
        """Waits until some of these updates are stored, or storing has failed for good."""

    def add(self, entry: Entry, size: int) -> None:
        """Enqueues one or more updates of `size` bytes. Calls `UpdateLog.written` when they are stored."""


class UpdateLog:
    """The updates of one run.

    The caller of `Run` owns the run. It acknowledges the updates that its program has taken, and outputs wait while it lags far
    behind. Watchers never make outputs wait. The oldest updates are dropped at the bounds of `retention`, except those that the
    owner has not taken and those that are not stored.
    """

    def __init__(self, *, owned: bool, stored: bool = False, memory: RunMemory | None = None, weight: int = 0) -> None:
        """Creates an empty log.

        Args:
            owned: whether the run has an owner, which takes all updates.
            stored: whether updates are stored; then `sink` must be set before the first one, and memory has a short tail of them.
            memory: the budget; None: one of its own.
            weight: of the run without its updates, in bytes.
        """
        self.last = 0
        """Number of the latest update."""
        self.closed = False
        """Whether the terminal update was appended."""
        self.sink: Sink | None = None
        """Stores the updates; set before the first one."""
        self.on_forgotten: Callable[[], None] | None = None
        """Called when the memory of the ended run is needed for others."""
        self._owned = owned
        self._stored = 0
        """Number of the latest update that was stored, or sent without being stored because the store failed."""
        self._in_store: float = 0 if stored else inf
        """Number of the latest update that the store has; infinite without a store."""
        self._last_urgent = 0
        """Number of the latest update that does not wait for others."""
        self._offered = 0
        """Number of optional updates since the last read."""
        self._offered_bytes = 0
        self._kept = KeptUpdates()
        self._window = OwnerWindow(self._kept, owned=owned)
        memory = memory if memory is not None else RunMemory()
        tail = Tail() if stored else None
        self._account = memory.open(self, weight=weight, tail=tail, protects=owned or stored)
        self._abandoned = False
        self._has_left = False
        """Whether the owner takes no more updates."""
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
        kind = update.WhichOneof("kind")
        if kind not in HELD and not (kind == "job" and update.job.state == update_pb2.RUN_STATE_STARTING):
            self._last_urgent = self.last
        self._append(update, update.ByteSize())

    def append_texts(self, component: str, port: str, texts: list[str], name: str = "") -> None:
        """Numbers and appends outputs of plain texts, and wakes every reader. Does nothing after `close`. `name` is that of the
        result; empty: the target."""
        if self.closed:
            return
        outputs = TextOutputs(component, port, texts, first=self.last + 1, time=time.time_ns(), name=name)
        self._last_urgent = self.last = self.last + len(texts)
        self._append(outputs, outputs.size)

    def _append(self, entry: Entry, size: int) -> None:
        before = self._kept.last
        self._kept.append(entry, size)
        self._account.add(weight_of(entry, size), self.last - before)
        if self.sink is not None:
            self.sink.add(entry, size)
        elif self._appended.waiters:
            self._appended.fire()

    def written(self, sequence: int) -> None:
        """Records that the updates up to a number are stored."""
        self._stored = max(self._stored, sequence)
        self._in_store = max(self._in_store, sequence)
        self._release()
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

        The limit is four times the lag in updates at which outputs wait for an owner, and the same lag in bytes. Without an owner,
        optional updates are bounded between two reads, so that they do not displace outputs.
        """
        if self.closed or self._window.is_ahead(OFFERED_TIMES) or (self.sink is not None and self.sink.is_behind):
            return False
        if not self._owned and (self._offered >= MAX_OPTIONAL_UPDATES or self._offered_bytes >= MAX_OPTIONAL_BYTES):
            return False
        before = self._kept.total
        self.append(update)
        self._offered += 1
        self._offered_bytes += self._kept.total - before
        return True

    def store_again(self, sink: Sink) -> None:
        """Resumes storing: the updates that are not stored, and all later ones. Readers may have read them already."""
        unstored = [*self._kept.after(int(self._in_store))]
        self._stored = self.last
        self.sink = sink
        for entry, size in unstored:
            sink.add(entry, size)

    async def wait_for_capacity(self) -> None:
        """Waits until the log has capacity for another output."""
        while not self.closed and not self._abandoned and self._window.is_ahead():
            await self._advanced.wait()
        while self.sink is not None and self.sink.is_behind:
            await self.sink.caught_up()

    async def capacity(self) -> tuple[int, int]:
        """Waits until the log has capacity for another output. Returns the numbers of updates and of bytes for which it has
        capacity; both are at least 1."""
        await self.wait_for_capacity()
        updates, size = MAX_BATCH_UPDATES, MAX_BATCH_BYTES
        if self._owned and not self.closed and not self._abandoned:
            free_updates, free_bytes = self._window.capacity()
            updates, size = min(updates, free_updates), min(size, free_bytes)
        if self.sink is not None:
            updates = min(updates, self.sink.capacity)
        return max(1, updates), max(1, size)

    def close(self) -> None:
        """Closes the log after the terminal update."""
        self.closed = True
        self._appended.fire()
        self._advanced.fire()

    def end_pacing(self) -> None:
        """Handles the end of the nodes: outputs no longer wait for the owner, which takes the remaining updates."""
        self._abandoned = True
        self._advanced.fire()

    def abandon(self) -> None:
        """Handles the disconnection of the owner: outputs no longer wait, and updates are not kept for it."""
        self._has_left = True
        self._release()
        self.end_pacing()

    def end(self) -> None:
        """Handles the end of the run, after the terminal update: its memory may be needed for other runs."""
        self._account.end()

    def discard(self) -> None:
        """Frees the memory of a run that could not be started."""
        self._account.remove()

    async def read(
        self, from_sequence: int = 1, *, paces: bool = True
    ) -> AsyncGenerator[update_pb2.Update | run_pb2.Gap, None]:
        """Yields the updates from a sequence number to the terminal one, and a gap for dropped updates.

        `paces`: whether this reader is the owner, for which outputs wait.
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
                if paces and self._window.take(found.last, found.total):
                    self._has_read()
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
                if paces and self._window.take(found.last, found.total):
                    self._has_read()
            elif self.closed and wanted > self.last:
                return
            else:
                await self._appended.wait()
                await self._gather(wanted)

    # The owner, which acknowledges what it has taken

    async def owned_batches(self, *, awaits_start: bool = False) -> AsyncGenerator[Sequence[Entry], None]:
        """Yields all updates for the owner, in batches as `batches`, within its window.

        Args:
            awaits_start: the owner sends more once it knows that the run starts, so that this state is given at once.

        Raises:
            LanemeshError: updates were dropped that the owner had not read, it acknowledged a wrong number, or the window is used
                up and it can acknowledge no more.
        """
        window = self._window
        while True:
            wanted = window.given_to + 1
            if wanted <= self._readable and not (wanted == 1 and awaits_start):
                await self._gather(wanted)
            found = window.give(self._readable)
            if found is not None:
                yield found.entries
            elif self.closed and wanted > self.last:
                return
            else:
                window.check(self._readable)
                await self._appended.wait()

    async def _gather(self, wanted: int) -> None:
        """Returns when something has to be sent: an output, or anything but `starting` and the states of nodes and edges. These
        wait for what follows within `HOLD_SECONDS`."""
        for _ in range(PASSES):
            if self.closed or self._last_urgent >= wanted:
                return
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                while not self.closed and self._last_urgent < wanted:
                    await self._appended.wait()

    def acknowledge(self, sequence: int) -> None:
        """Records that the owner's program has taken the updates up to a number.

        Raises:
            LanemeshError: the update was not given to the owner, or an update after it was acknowledged before.
        """
        try:
            if self._window.acknowledge(sequence):
                self._has_read()
        finally:
            self._appended.fire()

    def end_acknowledgements(self) -> None:
        """Handles the half-close of the owner's call: it gets what the window still permits."""
        self._window.half_close()
        self._appended.fire()

    @property
    def _readable(self) -> int:
        """Number of the latest readable update."""
        return self.last if self.sink is None else self._stored

    def _has_read(self) -> None:
        """Handles that the owner, or the reader that paces the run, has read further updates."""
        self._offered = self._offered_bytes = 0
        if self._owned:
            self._release()
        if self._advanced.waiters:
            self._advanced.fire()

    # The keeper of its account

    def pack(self, last: int) -> int:
        """Packs the updates up to a number, which are taken and stored. Returns their weight."""
        return self._kept.pack(last)

    def evict(self, last: int) -> None:
        """Drops the updates up to a number. Watchers get a gap for them."""
        self._kept.evict(last)

    def strip(self) -> int:
        """Drops all updates of the ended run except the terminal one. Returns its weight."""
        return self._kept.strip()

    def forget(self) -> None:
        """Forgets the ended run."""
        if self.on_forgotten is not None:
            self.on_forgotten()

    def _release(self) -> None:
        """Ends the protection of the updates that the owner has taken and the store has."""
        taken = self._window.read if self._owned and not self._has_left else inf
        self._account.release(min(taken, self._in_store))
