"""A run as its readers see it: its state, and views of its updates, whether this client has started it or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from lanemesh.client import views
from lanemesh.client.fanout import Acknowledgement, Fanout
from lanemesh.client.results import RunFailed, RunResult, failure_of
from lanemesh.client.specs import wire_text
from lanemesh.client.update_conversion import placement_from_wire
from lanemesh.client.updates import NodeUpdate, OutputUpdate, RunState, ToolUpdate, Update
from lanemesh.client.views import View
from lanemesh.faults import Fault
from lanemesh.rendering import valid_unicode
from lanemesh.text_outputs import Entry, TextOutputs, each_update, last_of, size_of_entry
from lanemesh.v1 import run_pb2, update_pb2

TERMINAL = {state.wire for state in RunState if state.is_terminal}
"""Wire states after which a run has no further updates."""


class RunReader(ABC):
    """The views of a run: its text, values, outputs, updates, and its end."""

    def __init__(self, run_id: str = "") -> None:
        self.id = run_id
        """The run's id; known once it has started."""
        self.state: RunState = RunState.STARTING
        """The run's state, as far as its updates were read."""
        self.reason = ""
        """The reason of its cancellation, if it was cancelled."""
        self.missed = 0
        """Number of updates that were no longer kept when they were requested; always 0 for a run that this client owns."""
        self._error: Fault | None = None
        self._placements: dict[str, update_pb2.Placement] = {}

    @abstractmethod
    def _batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        """Updates of the run, the terminal `JobUpdate` last."""

    @abstractmethod
    def _batches_and_gaps(self) -> AsyncGenerator[Sequence[Entry] | run_pb2.Gap, None]:
        """The same, with a gap in place of updates that are no longer kept."""

    @abstractmethod
    def _acknowledge(self, sequence: int) -> None:
        """The program has taken the updates up to a number."""

    @abstractmethod
    async def open_updates(self) -> Fanout:
        """The reader of the run's updates; starts the run if necessary."""

    @abstractmethod
    async def close_updates(self, fanout: Fanout) -> None:
        """A view was closed."""

    def updates(self) -> View[Update, list[Update]]:
        """Every update of the run, the terminal `JobUpdate` last. `match` on their types: `OutputUpdate`, `NodeUpdate`, ..."""
        return views.updates(self)

    def outputs(self, *components: str) -> View[OutputUpdate, list[OutputUpdate]]:
        """Every value that reaches a target, or one of these targets, with its component, lane and group.

        Raises:
            RunFailed: at the end, after all outputs: the run failed or was cancelled.
        """
        return views.outputs(self, components)

    def values(self, *components: str) -> View[Any, list[Any]]:
        """Every value that reaches a target, or one of these targets. Raises as `outputs` does."""
        return views.values(self, components)

    def text(self, *components: str) -> View[str, str]:
        """The text that reaches the targets, or some of them, piece by piece; awaited: as one text. Raises as `outputs` does."""
        return views.text(self, components)

    def json(self, model: Any = None, *components: str) -> View[Any, Any]:
        """The JSON values that reach the targets, or some of them; awaited: the only one.

        Args:
            model: validates each value: a pydantic model, or any type that pydantic knows; None: any JSON.
            components: the targets; none: all.

        Raises:
            LanemeshError: an output is not JSON, or an awaited view has not exactly one value.
            pydantic.ValidationError: the model rejects a value.
            RunFailed: as `outputs`.
        """
        return views.json_values(self, model, components)

    def tools(self, *components: str) -> View[ToolUpdate, list[ToolUpdate]]:
        """The actions of all or some agents: thoughts, calls, progress and results. Raises as `outputs` does."""
        return views.tools(self, components)

    def nodes(self, *components: str) -> View[NodeUpdate, list[NodeUpdate]]:
        """The states of the nodes, or some of them, as they change. Raises as `outputs` does."""
        return views.nodes(self, components)

    async def result(self) -> RunResult:
        """Reads the run to its end. Returns the result, with the outputs from now on; does not raise for a failed run."""
        found: list[OutputUpdate] = []
        async with aclosing(self.updates()) as updates:
            async for update in updates:
                if isinstance(update, OutputUpdate):
                    found.append(update)
        placements = tuple(map(placement_from_wire, self._placements.values()))
        return RunResult(self.id, self.state, tuple(found), self._error, self.reason, self.missed, placements)

    async def approve(self, call_id: str, *, component: str = "") -> None:
        """Approves a call for which a component of the run waits.

        Args:
            call_id: the id of the approval, from its `ApprovalUpdate`.
            component: the component that waits; empty: the only one that waits for an approval of that id.

        Raises:
            LanemeshError: no such approval is pending ("unknown-approval"), it was decided before ("approval-decided"), several
                components wait for one of that id ("several-approvals"), or the run has ended ("run-ended").
        """
        await self._decide(_decision(self.id, call_id, component, approved=True))

    async def refuse(self, call_id: str, reason: str = "", *, component: str = "") -> None:
        """Refuses a call for which a component of the run waits. `reason` is given to the component, and to the model of an agent.
        The other arguments and the errors are those of `approve`."""
        await self._decide(_decision(self.id, call_id, component, approved=False, reason=reason))

    @abstractmethod
    async def _decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval of the run."""

    def raise_unless_completed(self) -> None:
        """Raises RunFailed if the run has not completed."""
        if self.state is not RunState.COMPLETED:
            raise RunFailed(failure_of(self.id, self._error, self.reason))

    def _note(self, batch: Sequence[Entry]) -> None:
        for entry in batch:
            if not isinstance(entry, TextOutputs):
                self._note_update(entry)

    def _note_update(self, update: update_pb2.Update) -> None:
        kind = update.WhichOneof("kind")
        if kind == "node" and update.node.HasField("placement"):
            self._placements[update.node.component] = update.node.placement
        if kind != "job":
            return
        job = update.job
        self._placements.update((placement.component, placement) for placement in job.placements)
        self.id = job.run_id or self.id
        self.state = RunState.from_wire(job.state)
        self.reason = job.reason or self.reason
        if job.HasField("error"):
            self._error = Fault.from_proto(job.error)


async def wire_updates(run: RunReader) -> AsyncGenerator[update_pb2.Update, None]:
    """Every update of a run as a protobuf message, the terminal `JobUpdate` last, for programs that forward updates unread.

    A `Run` provides them once, and not besides views; leaving early cancels the run. A `DetachedRun` provides them from the first
    requested update on, in every call.

    Raises:
        LanemeshError: the run cannot be started or found, or the orchestrator cannot be reached.
    """
    acknowledgement = Acknowledgement(run._acknowledge)
    async with aclosing(run._batches()) as batches:
        async for batch in batches:
            for update in each_update(batch):
                yield update
                acknowledgement.took(update.sequence, update.ByteSize())


async def wire_batches(run: RunReader) -> AsyncGenerator[Sequence[Entry] | run_pb2.Gap, None]:
    """The updates of a run in batches, as they arrive, for programs that forward many updates at once.

    The updates of a batch count as taken when the next batch is requested, so a slow program holds a `Run`. A `DetachedRun` has a
    `Gap` in place of updates that are no longer kept. Otherwise as `wire_updates`.

    Raises:
        LanemeshError: as `wire_updates`.
    """
    acknowledgement = Acknowledgement(run._acknowledge)
    async with aclosing(run._batches_and_gaps()) as batches:
        async for batch in batches:
            yield batch
            if not isinstance(batch, run_pb2.Gap):
                acknowledgement.took(last_of(batch[-1]), sum(map(size_of_entry, batch)))
            del batch  # a silent run does not hold it


def _decision(
    run_id: str, call_id: str, component: str, *, approved: bool, reason: str = ""
) -> run_pb2.DecideApprovalRequest:
    """The request of a decision. Raises LanemeshError if a name is not valid Unicode."""
    return run_pb2.DecideApprovalRequest(
        run_id=wire_text(run_id, "the id of a run"),
        call_id=wire_text(call_id, "the id of an approval"),
        component=wire_text(component, "the name of a component"),
        approved=approved,
        reason=valid_unicode(reason),
    )
