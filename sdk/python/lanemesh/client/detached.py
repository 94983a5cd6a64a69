"""A run that continues without its caller: watched, fed and cancelled by any client with its id."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from lanemesh.channels import Channels
from lanemesh.client.fanout import Fanout
from lanemesh.client.inputs import to_input
from lanemesh.client.run_reader import TERMINAL, RunReader
from lanemesh.client.update_conversion import from_entry
from lanemesh.client.updates import Update
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, TextOutputs, each_update, first_of, last_of
from lanemesh.v1 import run_pb2, update_pb2

log = logging.getLogger("lanemesh.client")


class DetachedLink(Protocol):
    """The link to a detached run: an orchestrator in this process, or calls to a remote one."""

    def batches(self, from_sequence: int) -> AsyncGenerator[Sequence[Entry] | run_pb2.Gap, None]:
        """Its updates from a number on, to the terminal one, each once. Updates that are no longer kept are reported as missed."""

    async def push(self, given: run_pb2.RunInput | None, *, end: bool) -> None:
        """Feeds its source; returns when the run has taken the input."""

    async def cancel(self, reason: str) -> None:
        """Cancels the run."""

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval."""


class DetachedRun(RunReader):
    """A run that continues without its caller, with the interface of `Run`.

    Reading does not slow the run, except a run whose log is full of unread updates. The end of reading cancels nothing. Each of
    `updates()`, `outputs()` and `result()` reads from the first requested update on, in every call.
    """

    def __init__(self, run_id: str, link: DetachedLink, channels: Channels, from_sequence: int = 1) -> None:
        """`from_sequence` is the first requested update; updates are numbered from 1."""
        super().__init__(run_id)
        self.channels = channels
        """The run's channels, by which its nodes exchange messages outside the graph."""
        self._link = link
        self._from = from_sequence

    async def _batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        # Updates that are no longer kept are counted and logged.
        self.missed = 0
        async with aclosing(self._batches_and_gaps()) as batches:
            async for batch in batches:
                if isinstance(batch, run_pb2.Gap):
                    self._miss(batch)
                else:
                    yield batch

    async def _batches_and_gaps(self) -> AsyncGenerator[Sequence[Entry] | run_pb2.Gap, None]:
        # A broken connection is made again, and the updates continue.
        last_state = update_pb2.RUN_STATE_UNSPECIFIED
        async with aclosing(self._link.batches(self._from)) as batches:
            async for batch in batches:
                if not isinstance(batch, run_pb2.Gap):
                    self._note(batch)
                    last_state = _state_of(batch[-1])
                yield batch
                del batch  # a silent run does not hold it
        if last_state not in TERMINAL:
            message = f"run {self.id} has ended, and the number of its last update is less than {self._from}"
            raise LanemeshError(Fault(code=Code.OUT_OF_RANGE, reason="nothing-left", message=message))

    def _acknowledge(self, sequence: int) -> None:
        """The run does not wait for its watchers."""

    async def open_updates(self) -> Fanout:
        """A separate reader for each view, which begins at the first requested update."""
        return Fanout(self._batches)

    async def close_updates(self, fanout: Fanout) -> None:
        """Ends the reader of a view."""
        await fanout.close()

    async def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value; returns when the run has taken it, and waits while the source is behind.

        `port` names the source's output; by default every output that can carry the value. A push whose call fails may have been
        taken: it is not retried.

        Raises:
            LanemeshError: the run or its input has ended, its caller feeds it, or the orchestrator cannot be reached.
        """
        await self._link.push(to_input(value, port), end=False)

    async def end_input(self) -> None:
        """Ends the input of the source. A second call has no effect."""
        await self._link.push(None, end=True)

    async def cancel(self, reason: str = "cancelled by a client") -> None:
        """Cancels the run. Has no effect if it has ended."""
        await self._link.cancel(reason)

    async def _decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        await self._link.decide(decision)

    def _miss(self, missed: run_pb2.Gap) -> None:
        self.missed += missed.to_sequence - missed.from_sequence + 1
        message = "run %s: updates %d to %d are no longer kept; this reader does not get their outputs"
        log.warning(message, self.id, missed.from_sequence, missed.to_sequence)


async def updates_until(run: DetachedRun, sequence: int) -> AsyncGenerator[Update, None]:
    """The updates of a run that are kept, from its first requested one to the number `sequence`, for programs that show a run as it
    is. `sequence` is at most `RunRecord.last_sequence`. Later updates are not waited for, whatever was dropped; `run.missed` is the
    number of those that were.

    Raises:
        LanemeshError: the run is not known, or the orchestrator cannot be reached.
    """
    async with aclosing(_entries_until(run, sequence)) as entries:
        async for entry in entries:
            for update in from_entry(entry):
                yield update


async def wire_updates_until(run: DetachedRun, sequence: int) -> AsyncGenerator[update_pb2.Update, None]:
    """The same updates as protobuf messages. The errors are those of `updates_until`."""
    async with aclosing(_entries_until(run, sequence)) as entries:
        async for entry in entries:
            for update in each_update([entry]):
                yield update


async def _entries_until(run: DetachedRun, sequence: int) -> AsyncGenerator[Entry, None]:
    """The kept updates as entries. Counts those that were dropped."""
    run.missed = 0
    if sequence < run._from:
        return
    async with aclosing(run._link.batches(run._from)) as batches:
        async for batch in batches:
            if isinstance(batch, run_pb2.Gap):
                last = min(batch.to_sequence, sequence)
                run.missed += max(0, last - batch.from_sequence + 1)
            else:
                run._note(batch)
                last = last_of(batch[-1])
                for entry in batch:
                    if first_of(entry) <= sequence:
                        yield _up_to(entry, sequence)
            if last >= sequence:
                return


def _up_to(entry: Entry, sequence: int) -> Entry:
    """An entry without its updates after a number."""
    return entry.part(0, sequence - entry.first + 1) if isinstance(entry, TextOutputs) else entry


def _state_of(entry: Entry) -> update_pb2.RunState.ValueType:
    """The state of the run that an entry reports; unspecified if it reports none."""
    return update_pb2.RUN_STATE_UNSPECIFIED if isinstance(entry, TextOutputs) else entry.job.state
