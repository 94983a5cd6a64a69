"""The actor: runs one component of one run, of any kind, and ends its lanes in every case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lanemesh._aio.user_errors import NoException, called, cancel_requested, failure_or_cancellation
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import ABSENT, Item, Lineage
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.streams import OnTaken
from lanemesh.node.blocking import WATCH
from lanemesh.node.callables import call_hook
from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import Body, LoopBody, body_of
from lanemesh.node.firing.copier import NodeCopier
from lanemesh.node.firing.deadline import Deadline
from lanemesh.node.firing.executor import outcome_of
from lanemesh.node.firing.loop import FiringRules, Firings
from lanemesh.node.inputs import Inputs, left_out
from lanemesh.node.join.lineage import LineageTracker, lineage_of
from lanemesh.node.node import Kind, Node
from lanemesh.node.outputs import Outputs
from lanemesh.node.runtime import missing_await
from lanemesh.node.waits import SIBLING


class State(Enum):
    """The states of an actor."""

    STARTING = "starting"
    RUNNING = "running"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an actor."""

    state: State
    firings: int
    fault: Fault | None = None
    detail: str = ""
    error: Exception | None = None
    """The exception that the node raised, if any."""
    skipped: int = 0
    """Number of firings that failed and were dropped."""
    retried: int = 0
    """Number of further attempts at failed firings."""
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Seconds that the actor waited, was busy, and was blocked by full lanes."""


__all__ = ["FINALIZE_SECONDS", "Actor", "Outcome", "State"]

FINALIZE_SECONDS = 5.0
"""Longest that `finalize` may take."""


class Actor:
    """One component in one run."""

    def __init__(
        self,
        node: Node,
        context: Context,
        inbox: Inbox,
        outputs: Outputs,
        rules: FiringRules | None = None,
        *,
        timeout: float | None = None,
        body: Body | None = None,
        on_overdue: Callable[[Fault], object] | None = None,
        cancelled_by_owner: Callable[[], bool] = cancel_requested,
    ) -> None:
        """`timeout` limits one firing, or the whole `run`, in seconds. `body` runs the bodies elsewhere. `on_overdue` gets the
        fault of a body that continues 5 s after its time limit: only the owner of the actor can abandon it. `cancelled_by_owner`
        returns whether the owner has cancelled the actor, because a body may cancel its own task as well."""
        self.context = context
        self.inbox = inbox
        self.outputs = outputs
        self.waits = context.waits
        """The waits of the actor within the run."""
        self._node = node
        self._cancelled_by_owner = cancelled_by_owner
        rules = rules or FiringRules(sync_mode=node.sync_mode)
        self._forks = rules.forks
        self._body = body or body_of(type(node), context, overlapping=rules.concurrency > 1)
        if (gpu := type(node).gpu_) is not None:
            from lanemesh.node.firing.leased import LeasedBody

            node.gpu_model = None
            self._body = LeasedBody(self._body, node, gpu, context)
        self._deadline = Deadline(context.component, timeout, lambda: self.abandoned, on_overdue)
        self._firings = Firings(node, context, inbox, outputs, self._body, self._deadline, rules)
        outputs.runs_to_end, outputs.sends_one = node.runs_to_end, node.sends_one
        if not node.runs_to_end:
            outputs.when_downstream_closed(self._downstream_closed)

    @property
    def firings(self) -> int:
        """Number of firings so far."""
        return self._firings.executor.count

    @property
    def counts(self) -> tuple[int, int, int]:
        """Firings so far; firings that failed and were skipped; further attempts at failed firings."""
        executor = self._firings.executor
        return executor.count, executor.skipped, executor.retried

    def outcome(
        self, state: State, fault: Fault | None = None, detail: str = "", error: Exception | None = None
    ) -> Outcome:
        """The outcome, with the counts of the firings."""
        executor = self._firings.executor
        without = left_out(self.inbox)
        if without:
            self.context.log.warning(without)
        if self.lost_attributes:
            self.context.log.warning(self.lost_attributes)
        detail = "; ".join(filter(None, (detail, without)))
        return Outcome(
            state, executor.count, fault, detail, error, executor.skipped, executor.retried, self.waits.seconds()
        )

    @property
    def lost_attributes(self) -> str:
        """The attributes that the first firings have set on their copies of the node, and that are lost; empty if none."""
        return self._firings.executor.copier.lost_attributes()

    @property
    def abandoned(self) -> str:
        """A message if a synchronous body continued after its cancellation."""
        return self._body.abandoned

    async def run(self) -> Outcome:
        """Runs the component to its end. Raises only if its task is cancelled, and then after `finalize`."""
        fault: Fault | None = None
        raised: Exception | None = None
        state, detail = State.COMPLETED, ""
        cancelled: asyncio.CancelledError | None = None
        if isinstance(self._body, LoopBody) or type(self._node).kind_ is Kind.RUN:
            WATCH.add(self.context, getattr(type(self._node), type(self._node).kind_.value, None))
        try:
            with self.waits.task():
                if type(self._node).kind_ is Kind.RUN:
                    await self._run()
                else:
                    over = await self._firings.run()
                    state, detail = State.SKIPPED if over.skipped else State.COMPLETED, over.detail
        except BaseException as error:
            cancelled, raised = self._sorted(error)
        stopped = cancelled is not None and cancel_requested()
        if stopped or self._cancelled_by_owner():  # also if the body ignored the cancellation, or failed because of it
            cancelled = cancelled or asyncio.CancelledError()
            self.context.cancelled = True
            fault = self._cancelled_fault()
        else:
            cancelled = None  # every lane of the node was stopped: a clean end
        await self._firings.close(outcome_of(cancelled or raised))
        WATCH.remove(self.context)
        unfinalized = await self._finalize()
        raised = raised or unfinalized
        if fault is None and raised is not None:
            fault = self._located(Fault.from_exception(raised))
        if fault is None and self.outputs.downstream_fault is not None and not self._node.runs_to_end:
            fault = self._located(self.outputs.downstream_fault)
        self.context.cancelled = True
        self.inbox.mark_processed()
        self.outputs.end(fault.as_secondary() if fault is not None else None)
        if fault is not None:
            self.inbox.stop(f"{self.context.component} failed", fault.as_secondary())
        else:
            self.inbox.stop(f"{self.context.component} has ended")
        if cancelled is not None:
            raise cancelled
        if fault is not None:
            state = State.CANCELLED if fault.code is Code.CANCELLED and fault.secondary else State.FAILED
            return self.outcome(state, fault, error=raised)
        return self.outcome(state, detail=detail)

    def _sorted(self, error: BaseException) -> tuple[asyncio.CancelledError | None, Exception | None]:
        """The cause of the end: a cancellation, by the owner or because the consumers take no more; otherwise the failure."""
        failure = failure_or_cancellation(error)
        if isinstance(failure, asyncio.CancelledError):
            return failure, None
        if (
            self.outputs.closes_node
            and isinstance(failure, NoException)
            and isinstance(failure.raised, asyncio.CancelledError)
        ):
            return failure.raised, None  # from a task of its own that read from a closed input
        return None, failure

    def _downstream_closed(self) -> None:
        """No consumer takes its outputs: it stops its inputs, with the same reason for its producers."""
        self.inbox.withdraw("its own consumers accept no more items", self.outputs.downstream_fault)

    async def _run(self) -> None:
        inputs = Inputs(self.context.component, self.inbox, type(self._node).inputs_, self._on_taken())
        node = NodeCopier(self._node).fresh({})
        missing_await.watch()
        async with self._deadline.of("run"):
            if node.boundary == "source":
                await self._until_downstream_closed(node, inputs)
            else:
                await called(node.run(self.context, inputs, self.outputs))
        self.outputs.check_awaited()
        self._firings.executor.count = 1

    def _on_taken(self) -> OnTaken | None:
        """The observer of the items that `run` takes; None if no sequence tags are passed on."""
        tracker = self._firings.executor.tracker
        if tracker is None:
            return None
        carrying = {edge.port.name for edge in self.inbox.edges() if edge.id in self._forks}
        return Tracking(tracker, self.outputs, carrying).took

    async def _until_downstream_closed(self, node: Any, inputs: Inputs) -> None:
        """Runs the body of a source, which waits for its client. It is closed when no consumer takes its outputs any more."""

        async def body() -> None:
            with self.waits.task():
                await called(node.run(self.context, inputs, self.outputs))

        running = asyncio.create_task(body(), name=self.context.component)
        self.outputs.when_downstream_closed(running.cancel)
        try:
            with self.waits.waiting(SIBLING):
                await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() or not self.outputs.downstream_closed:
                raise

    async def _finalize(self) -> Exception | None:
        finalize: Any = self._node.finalize
        if getattr(finalize, "__func__", None) is Node.finalize:  # it does nothing
            return None
        try:
            async with asyncio.timeout(FINALIZE_SECONDS) as scope:
                await call_hook(finalize, self.context)
        except Exception as error:
            if scope.expired() and isinstance(error, TimeoutError):
                message = f"{self.context.component}: finalize took longer than {FINALIZE_SECONDS:g} s"
                return LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message))
            return error
        except asyncio.CancelledError as error:
            if self._cancelled_by_owner():
                raise
            return NoException(error)
        return None

    def _located(self, fault: Fault) -> Fault:
        located = fault.located(component=self.context.component, provider=self.context.provider)
        return self.context.secrets.fault(located)

    def _cancelled_fault(self) -> Fault:
        return self._located(
            Fault(
                code=Code.CANCELLED,
                reason="cancelled",
                message=f"{self.context.component} was cancelled",
                secondary=True,
            )
        )


class Tracking:
    """Observes every item that a `run` node takes, and passes on the sequence tags of its lineage.

    An emitted value descends from the item that was taken last. Tags that end without an item for the node are passed on as
    completed. For all other tags only the node knows when it has processed their items: `outputs.done_with(item)`.
    """

    def __init__(self, tracker: LineageTracker, outputs: Outputs, carrying: Collection[str]) -> None:
        """`carrying`: the inputs whose items have sequence tags."""
        self._tracker = tracker
        self._outputs = outputs
        self._carrying = carrying
        outputs.tracker = tracker

    async def took(self, port: str, item: Item) -> None:
        """The node has taken an item, or an item without a value has arrived."""
        if port not in self._carrying:
            return
        lineage = lineage_of(item)
        valued = item.value is not ABSENT
        if valued:
            self._outputs.descent = Lineage(lineage.forks) if lineage is not None else None
        self._tracker.took(lineage, valued=valued)
        if self._tracker.closed:
            await self._outputs.emit_completion(self._tracker.take_completed())
