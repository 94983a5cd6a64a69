"""Links of callers to runs of an orchestrator in this process: to an owned run and to a detached run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from lanemesh.channels import Channels
from lanemesh.faults import LanemeshError
from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2

from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.batches import Batch
from lanemesh_orchestrator.runs.runs import Runs

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.records import History


class LocalRunLink:
    """The link of an owner to its run, whose orchestrator is in this process."""

    def __init__(self, begin: Callable[[], Awaitable[ActiveRun]], channels: Callable[[str], Channels]) -> None:
        self._begin = begin
        self._channels = channels
        self._run: ActiveRun | None = None

    @property
    def run(self) -> ActiveRun:
        """The run. Available after `start`."""
        assert self._run is not None, "the run has not been started"
        return self._run

    @property
    def run_id(self) -> str:
        """The run's id; empty before it has started."""
        return self._run.id if self._run is not None else ""

    def channels(self) -> Channels:
        """The run's channels."""
        return self._channels(self.run_id)

    async def start(self, given: Sequence[run_pb2.RunInput] | None = None) -> bool:
        """Validates, places and starts the run, with all of its inputs if they are given. Returns whether they are."""
        self._run = await self._begin()
        if given is None:
            return False
        try:
            self._run.begin(given, end=True)
        except LanemeshError as error:
            self._run.cancel(str(error))
        return True

    async def batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        """Every update of the run, within the window of its owner."""
        async with aclosing(self.run.log.owned_batches()) as batches:
            async for batch in batches:
                yield batch

    def acknowledge(self, sequence: int) -> None:
        """The owner's program has taken the updates up to a number."""
        self.run.log.acknowledge(sequence)

    async def feed(self, given: run_pb2.RunInput) -> None:
        """Feeds the source."""
        await self.run.push(given)

    async def push(self, given: run_pb2.RunInput) -> None:
        """Feeds the source."""
        await self.run.push(given)

    async def end_input(self) -> None:
        """Ends the input."""
        await self.run.push(end=True)

    async def cancel(self, reason: str) -> None:
        """Cancels the run."""
        if self._run is not None:
            self._run.cancel(reason)

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval."""
        await self.run.decide(decision)

    async def close(self) -> None:
        """Cancels the run unless it has ended, and waits for its terminal update."""
        if self._run is None:
            return
        self._run.cancel("its caller disconnected")
        self._run.log.abandon()
        await self._run.ended.wait()


class LocalDetachedLink:
    """The link to a detached run, or to a run that another caller owns."""

    def __init__(self, runs: Runs, history: History, run_id: str) -> None:
        self._runs = runs
        self._history = history
        self._run_id = run_id

    async def batches(self, from_sequence: int) -> AsyncGenerator[Batch, None]:
        """The updates of the run from a sequence number on."""
        async with aclosing(self._history.batches(self._run_id, from_sequence)) as batches:
            async for batch in batches:
                yield batch

    async def push(self, given: run_pb2.RunInput | None, *, end: bool) -> None:
        """Feeds its source."""
        await self._check_here()
        await self._runs.push(self._run_id, [given] if given is not None else [], end=end)

    async def cancel(self, reason: str) -> None:
        """Cancels it, unless it has ended."""
        run = self._runs.find(self._run_id)
        if run is not None:
            run.cancel(reason)
        else:
            await self._history.record(self._run_id)  # raises if there is no such run
            await self._check_here()

    async def _check_here(self) -> None:
        """Raises LanemeshError if another orchestrator that shares the store runs it: an embedded mesh forwards no calls."""
        address = None if self._runs.find(self._run_id) is not None else await self._history.elsewhere(self._run_id)
        if address is not None:
            from lanemesh_orchestrator.runs.elsewhere import elsewhere_fault

            raise LanemeshError(elsewhere_fault(self._run_id, address))

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval."""
        await self._check_here()
        await decide(self._runs, self._history, decision)


async def decide(runs: Runs, history: History, decision: run_pb2.DecideApprovalRequest) -> None:
    """Decides an approval of a run for a client.

    Raises:
        LanemeshError: the run is not known or has ended, or no such approval is pending.
    """
    run = runs.find(decision.run_id)
    if run is not None:
        await run.decide(decision)
        return
    await history.record(decision.run_id)
    from lanemesh_orchestrator.runs.approvals import ended_error

    raise ended_error(decision.run_id)
