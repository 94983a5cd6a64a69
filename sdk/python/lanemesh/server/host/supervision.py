"""The supervision of the nodes of one hosted run: each one's actor from its start to the report of its end, whatever ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from lanemesh._aio.tasks import abandon
from lanemesh._aio.user_errors import NoException, failure_of
from lanemesh.faults import Code, Fault
from lanemesh.node.outputs import Outputs
from lanemesh.node.runtime.actor import Actor, Outcome, State
from lanemesh.redaction import Secrets
from lanemesh.server.host.instances import HostedInstance
from lanemesh.server.host.probing import BlockedEmitWatch
from lanemesh.server.host.reporting import RunReporter
from lanemesh.times import seconds_of
from lanemesh.v1 import node_pb2

CANCEL_SECONDS = 8.0
"""How long cancelled nodes may take, `finalize` included, before they are abandoned."""

CANCELLED = Fault(code=Code.CANCELLED, reason="cancelled", message="the run was cancelled", secondary=True)
"""The fault of the lanes and the inboxes of cancelled nodes."""

log = logging.getLogger("lanemesh.run")


class NodeSupervisor:
    """Owns the tasks of the nodes of one part of a run."""

    def __init__(
        self,
        place: node_pb2.Place,
        server: str,
        reporter: RunReporter,
        secrets: Secrets,
        stalls: BlockedEmitWatch,
        *,
        on_fault: Callable[[Fault], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Without nodes.

        Args:
            place: the part of the run.
            server: the name of this server, for faults.
            reporter: reports the states of nodes.
            secrets: hidden in faults.
            stalls: watches the waits of the nodes.
            on_fault: gets each fault of a node, in the order of occurrence.
            on_closed: called when a node has ended cleanly, with all its lanes closed.
        """
        self._run_id = place.run_id
        self._merges_frames = place.merges_frames
        self._server = server
        self._reporter = reporter
        self._secrets = secrets
        self._stalls = stalls
        self._on_fault = on_fault
        self._on_closed = on_closed
        self._supervised: dict[str, HostedInstance] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The tasks of nodes that were not abandoned."""
        self._going: set[str] = set()
        """Components that have not ended cleanly, with all their lanes closed."""
        self._left = asyncio.Event()
        """Set when a node has ended or was abandoned."""
        self._abandoning: set[asyncio.Task[None]] = set()
        self._cancelling = False

    @property
    def all_closed(self) -> bool:
        """Whether every node has ended cleanly, with all its lanes closed."""
        return not self._going

    def start(self, placed: HostedInstance) -> None:
        """Starts a node, which has its outputs."""
        component = placed.instance.component
        task = asyncio.create_task(self._supervise(placed), name=f"{self._run_id} {component}")
        self._supervised[component], self._tasks[component] = placed, task
        self._going.add(component)
        task.add_done_callback(lambda _: self._left.set())

    async def all_ended(self) -> None:
        """Waits until every node has ended or was abandoned."""
        while any(not task.done() for task in self._tasks.values()):
            self._left.clear()
            await self._left.wait()
        await asyncio.gather(*self._abandoning)

    def begin_cancel(self) -> None:
        """The run is being cancelled: the end of a node's task from now on is no failure of its supervision."""
        self._cancelling = True

    async def cancel(self, reason: str, *, again: bool) -> None:
        """Cancels the nodes, after `begin_cancel`, and waits for their ends; abandons those that have not ended 8 s later.

        `again`: they were cancelled before. A second cancellation would interrupt the handling of the first one, such as
        `finalize`.
        """
        tasks = {component: task for component, task in self._tasks.items() if not task.done()}
        for component, task in tasks.items():
            if (commits := self._supervised[component].commits) is not None:
                commits.abandon()
            if not again:
                task.cancel(reason)
        if tasks:
            await asyncio.wait(tasks.values(), timeout=CANCEL_SECONDS)
            for component, task in tasks.items():
                if not task.done():
                    await self._abandon(self._supervised[component])

    async def _abandon(self, placed: HostedInstance, fault: Fault | None = None) -> None:
        """Continues without a node that ignores its cancellation: its later outputs are discarded. `fault` is the reason of the
        cancellation, if it had failed."""
        component = placed.instance.component
        task = self._tasks.pop(component, None)
        if task is None:
            return
        abandon(task)
        what = f"it ignored its cancellation for {CANCEL_SECONDS:g} s and was abandoned"
        log.error("%s %s: %s", self._run_id, component, fault.message if fault is not None else what)
        placed.context.cancelled = True
        why = fault.as_secondary() if fault is not None else CANCELLED
        placed.inbox.stop(why.message, why)
        await placed.abort(why)
        assert placed.actor is not None
        if fault is None:
            await self._ended(placed, placed.actor.outcome(State.CANCELLED, detail=what))
        else:
            await self._ended(placed, placed.actor.outcome(State.FAILED, fault))
        if placed.commits is not None:
            placed.commits.settle()
        self._left.set()

    def _overdue(self, placed: HostedInstance, fault: Fault) -> None:
        """A body was cancelled at its time limit, and continues."""
        abandoning = asyncio.create_task(self._abandon(placed, fault.located(component=placed.instance.component)))
        self._abandoning.add(abandoning)
        abandoning.add_done_callback(self._abandoning.discard)

    async def _supervise(self, placed: HostedInstance) -> None:
        component = placed.instance.component
        try:
            actor, outputs = self._actor(placed)
            self._stalls.add(component, placed.context.waits)
            if not self._merges_frames:
                await self._reporter.node(component, State.RUNNING)
            self._reporter.firing[component] = actor
            outcome = await actor.run()
            if placed.commits is not None:
                if outcome.fault is not None:
                    placed.commits.abandon()
                await outputs.closed()  # until then it may be placed again
            await self._ended(placed, outcome)
            await outputs.closed()
            self._check_lanes(placed, outputs, outcome)
            self._going.discard(component)
            self._on_closed()
        except asyncio.CancelledError:
            if not self._cancelling:
                await self._broken(placed, NoException(asyncio.CancelledError()))
                raise
            await placed.abort(CANCELLED)
            placed.inbox.stop(CANCELLED.message, CANCELLED)
            assert placed.actor is not None  # made before the first await
            await self._ended(placed, placed.actor.outcome(State.CANCELLED, detail=placed.actor.abandoned))
        except BaseException as error:  # an error of the server itself must end the run too
            await self._broken(placed, failure_of(error))
        finally:
            if placed.commits is not None:
                placed.commits.settle()

    def _actor(self, placed: HostedInstance) -> tuple[Actor, Outputs]:
        """Creates the actor of a node. Returns it with the outputs of the node."""
        instance, outputs = placed.instance, placed.outputs
        assert outputs is not None
        actor = placed.actor = Actor(
            placed.node,
            placed.context,
            placed.inbox,
            outputs,
            placed.rules,
            timeout=seconds_of(instance.timeout) if instance.HasField("timeout") else None,
            body=placed.isolated or placed.batches,
            on_overdue=partial(self._overdue, placed),
            cancelled_by_owner=lambda: placed.context.cancelled,
        )
        return actor, outputs

    async def _broken(self, placed: HostedInstance, error: Exception) -> None:
        """Ends a component whose supervision has failed: its lanes and its inbox, so that no other component waits for it."""
        component = placed.instance.component
        if component not in self._tasks:
            return  # it was abandoned, and ends with its event loop
        log.error("%s %s: its supervision failed", self._run_id, component, exc_info=error)
        where = {"server": self._server, "component": component, "provider": placed.instance.provider}
        fault = self._secrets.fault(Fault.from_exception(error, **where))
        self._on_fault(fault)
        if placed.commits is not None:
            placed.commits.abandon()
        placed.inbox.stop(f"{component} failed", fault.as_secondary())
        await placed.abort(fault.as_secondary())
        if not placed.ended:
            placed.ended = True
            await placed.context.channels.end()
            self._reporter.firing.pop(component, None)
            await self._reporter.node(component, State.FAILED, Outcome(State.FAILED, 0, fault), self._server)

    async def _ended(self, placed: HostedInstance, outcome: Outcome) -> None:
        """Reports the end of an instance, once. Ends its subscriptions to channels: publishers do not wait for them any more."""
        if placed.ended:
            return
        placed.ended = True
        self._reporter.firing.pop(placed.instance.component, None)
        cancelled: asyncio.CancelledError | None = None
        try:
            await placed.context.channels.end()
        except asyncio.CancelledError as error:  # its end is reported nevertheless
            cancelled = error
        for rest in (placed.context.progress_reporter.end(), self._reporter.lines.rest(placed.instance.component)):
            if rest is not None:
                await self._reporter.report(rest)
        if outcome.fault is not None and outcome.state is State.FAILED:
            where = {"server": self._server, "component": placed.instance.component}
            self._on_fault(outcome.fault.located(**where))
        await self._reporter.node(placed.instance.component, outcome.state, outcome, self._server)
        if cancelled is not None:
            raise cancelled

    def _check_lanes(self, placed: HostedInstance, outputs: Outputs, outcome: Outcome) -> None:
        """Reports a lane that broke after the end of its node and before its consumer has taken all items."""
        for sender in outputs.senders:
            if sender.fault is not None and outcome.fault is None:
                self._on_fault(sender.fault.located(server=self._server, component=placed.instance.component))
