"""The actor: runs one component of one run, whatever its kind, and ends its lanes however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lanemesh._aio.user_code import NoException, called, cancel_requested, failure_or_cancellation
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import ABSENT, Item, Lineage
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.streams import OnTaken
from lanemesh.node.blocking import WATCH
from lanemesh.node.callables import call_hook
from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import Body, LoopBody, body_of
from lanemesh.node.firing.copies import Copies
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
    """How an actor ended."""

    state: State
    firings: int
    fault: Fault | None = None
    detail: str = ""
    error: Exception | None = None
    """What the node raised, where that was an exception."""
    skipped: int = 0
    """Firings that failed and were dropped."""
    retried: int = 0
    """Further attempts at firings that failed."""
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How long it waited, was busy, and was blocked by full lanes."""


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
        """`timeout` is what one firing, or the whole of `run`, may take, in seconds. `body` runs its bodies elsewhere. `on_overdue`
        is told of a body that goes on 5 s after its time was over: only who runs the actor can give it up. `cancelled_by_owner`
        says whether who runs the actor has cancelled it; a body may cancel its own task as well."""
        self.context = context
        self.inbox = inbox
        self.outputs = outputs
        self.waits = context.waits
        """What it waits for within the run."""
        self._node = node
        self._cancelled_by_owner = cancelled_by_owner
        rules = rules or FiringRules(sync_mode=node.sync_mode)
        self._forks = rules.forks
        self._body = body or body_of(type(node), context, overlapping=rules.concurrency > 1)
        self._deadline = Deadline(context.component, timeout, lambda: self.abandoned, on_overdue)
        self._firings = Firings(node, context, inbox, outputs, self._body, self._deadline, rules)
        outputs.runs_to_end, outputs.sends_one = node.runs_to_end, node.sends_one
        if not node.runs_to_end:
            outputs.when_downstream_closed(self._downstream_closed)

    @property
    def firings(self) -> int:
        """How often it has fired."""
        return self._firings.executor.count

    @property
    def counts(self) -> tuple[int, int, int]:
        """Firings so far; those that failed and were skipped; further attempts at failed ones."""
        executor = self._firings.executor
        return executor.count, executor.skipped, executor.retried

    def outcome(
        self, state: State, fault: Fault | None = None, detail: str = "", error: Exception | None = None
    ) -> Outcome:
        """How it ended, with the counts of its firings."""
        executor = self._firings.executor
        without = left_out(self.inbox)
        if without:
            self.context.log.warning(without)
        if self.left_on_self:
            self.context.log.warning(self.left_on_self)
        detail = "; ".join(filter(None, (detail, without)))
        return Outcome(
            state, executor.count, fault, detail, error, executor.skipped, executor.retried, self.waits.seconds()
        )

    @property
    def left_on_self(self) -> str:
        """What its first firings have left on their copies of the node, where later ones do not see it; empty if nothing."""
        return self._firings.executor.copies.left_on_self()

    @property
    def abandoned(self) -> str:
        """Says so if a synchronous body went on when it was cancelled."""
        return self._body.abandoned

    async def run(self) -> Outcome:
        """Runs the component to its end. Never raises but when its task is cancelled, and then only after `finalize`."""
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
        if stopped or self._cancelled_by_owner():  # also of a body that made nothing of it, or failed because of it
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
        """What ended the component: a cancellation, by its owner or since its consumers take no more; else its failure."""
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
        """Nobody takes what it sends: it takes no more either, and its producers are told why as it was."""
        self.inbox.withdraw("its own consumers accept no more items", self.outputs.downstream_fault)

    async def _run(self) -> None:
        inputs = Inputs(self.context.component, self.inbox, type(self._node).inputs_, self._on_taken())
        node = Copies(self._node).fresh({})
        missing_await.watch()
        async with self._deadline.of("run"):
            if node.boundary == "source":
                await self._until_downstream_closed(node, inputs)
            else:
                await called(node.run(self.context, inputs, self.outputs))
        self.outputs.check_awaited()
        self._firings.executor.count = 1

    def _on_taken(self) -> OnTaken | None:
        """What sees all that `run` takes; None if no numbers are handed on."""
        tracker = self._firings.executor.tracker
        if tracker is None:
            return None
        carrying = {edge.port.name for edge in self.inbox.edges() if edge.id in self._forks}
        return Tracking(tracker, self.outputs, carrying).took

    async def _until_downstream_closed(self, node: Any, inputs: Inputs) -> None:
        """Runs the body of a source, which waits for its client: it is closed when nobody takes what that might still send."""

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
        try:
            async with asyncio.timeout(FINALIZE_SECONDS) as scope:
                await call_hook(self._node.finalize, self.context)
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
    """Sees every item that a `run` node takes, and hands on the numbers of its lineage.

    What it emits descends from the item that it took last. Numbers that end without an item for the node are handed on as ended;
    of all others only the node knows when it has done with them: `outputs.done_with(item)`.
    """

    def __init__(self, tracker: LineageTracker, outputs: Outputs, carrying: Collection[str]) -> None:
        """`carrying`: the inputs whose items have numbers."""
        self._tracker = tracker
        self._outputs = outputs
        self._carrying = carrying
        outputs.tracker = tracker

    async def took(self, port: str, item: Item) -> None:
        """The node has taken an item, or one without a value has come."""
        if port not in self._carrying:
            return
        lineage = lineage_of(item)
        valued = item.value is not ABSENT
        if valued:
            self._outputs.descent = Lineage(lineage.forks) if lineage is not None else None
        self._tracker.took(lineage, valued=valued)
        if self._tracker.closed:
            await self._outputs.emit_completion(self._tracker.take_completed())
