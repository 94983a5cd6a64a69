"""One run on one node host: its instances, their lanes and helpers, from `place` to `finished`."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum, auto
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from lanemesh._aio.tasks import abandon
from lanemesh._aio.time_left import within, within_seconds
from lanemesh._aio.user_code import NoException, failure_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.sender import LaneSender
from lanemesh.node.callables import call_hook
from lanemesh.node.context import ClientLink
from lanemesh.node.outputs import Outputs
from lanemesh.node.runtime.actor import FINALIZE_SECONDS, Actor, Outcome, State
from lanemesh.redaction import Secrets, secrets_of
from lanemesh.server.host.instances import HostedInstance, InstanceFactory, InstanceHost
from lanemesh.server.host.probing import BlockedEmitWatch, probed
from lanemesh.server.host.reporting import RunReporter, Send, TrySend
from lanemesh.times import seconds_of
from lanemesh.v1 import lane_pb2, node_pb2, update_pb2

if TYPE_CHECKING:
    from lanemesh.control.instance import HelperInstance
    from lanemesh.server.host.taps import Traces

TIMEOUT_GRACE_SECONDS = 2.0
"""How much longer than its timeout a run may take before a host ends its part by itself. The orchestrator ends it earlier."""
OPEN_SECONDS = 30.0
"""How long after the start of a run the lanes from other servers may take to be opened."""
CANCEL_SECONDS = 8.0
"""How long cancelled nodes may take, `finalize` included, before they are abandoned."""

log = logging.getLogger("lanemesh.run")

_CANCELLED = Fault(code=Code.CANCELLED, reason="cancelled", message="the run was cancelled", secondary=True)

Refuse = Callable[[Code, str, str], LanemeshError]


class Phase(Enum):
    """How far a run's part has come."""

    PLACING = auto()
    """Its instances are being created, or some of them could not be."""
    PLACED = auto()
    """`connect` may come."""
    CONNECTING = auto()
    """Its lanes are being opened, or some of them could not be."""
    CONNECTED = auto()
    """`start` may come."""
    STARTED = auto()
    """`start` has come."""
    REFUSED = auto()
    """`start` came too early: the run ends."""


class HostedRun:
    """One run's part on this host."""

    def __init__(
        self, host: InstanceHost, place: node_pb2.Place, send: Send, try_send: TrySend, client: ClientLink | None
    ) -> None:
        self.run_id = place.run_id
        self.incarnation = place.incarnation
        self.cancelling = False
        self._host = host
        self._place = place
        self._server = place.server or host.name
        self._secrets = secrets_of((instance.config_json, instance.secret_pointers) for instance in place.instances)
        self._send = send
        self._try_send = try_send
        self._types: dict[str, LaneType] = {edge.id: LaneType.from_wire(edge.lane_type) for edge in place.edges}
        self._reporter = RunReporter(send, try_send, self._secrets)
        self._traces = _traces(place.trace, self._types, self._reporter.report, self._secrets)
        self._factory = InstanceFactory(host, place, self._reporter, client, self._secrets, self._traces)
        self._instances: dict[str, HostedInstance] = {}
        self.helpers: dict[str, HelperInstance] = {}
        """The instances that serve control connections, by component."""
        self._reporter.helpers = self.helpers
        self._incoming: dict[str, Edge] = {}
        self._senders: dict[str, LaneSender] = {}
        self._accepted: set[str] = set()
        self._unopened: dict[str, node_pb2.Edge] = {}
        """Incoming edges whose lanes other servers have not opened yet. An edge without a named server of its producer is not
        among them, nor is one whose producer gets the address only when this part of the run starts."""
        self._opened = asyncio.Event()
        """Set when no lane is awaited any more."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._going: set[str] = set()
        """Components that have not ended cleanly, with all their lanes closed."""
        self._faults: list[Fault] = []
        self._work: asyncio.Future[Any] | None = None
        self._stalls = BlockedEmitWatch(
            lambda component: try_send(node_pb2.HostResponse(stalled=node_pb2.Stalled(component=component)))
        )
        self._left = asyncio.Event()
        """Set when a node has ended or was abandoned."""
        self._abandoning: set[asyncio.Task[None]] = set()
        self.phase = Phase.PLACING
        self._released = asyncio.Event()
        self._opens_at_start = place.opens_lanes_at_start
        self.is_finishing = False
        """Every node has ended, and nothing more is awaited: `finished` follows at once."""
        self.gone = asyncio.Event()
        """Set once all of its parts here have ended."""

    @property
    def instances(self) -> int:
        """Number of components of the run on this host."""
        return len(self._place.instances)

    @property
    def can_start(self) -> bool:
        """Whether `start` may come now."""
        return self.phase is Phase.CONNECTED or (self.phase is Phase.PLACED and self._opens_at_start)

    async def place(self) -> list[Fault]:
        """Creates every instance and loads its resources. Returns all faults."""
        faults = await self._place_instances()
        if not faults and not self.cancelling and self.phase is Phase.PLACING:
            self.phase = Phase.PLACED
        return faults

    async def _place_instances(self) -> list[Fault]:
        instances = self._place.instances
        if all(self._factory.makes_at_once(instance) for instance in instances):
            faults = [await self._make(instance) for instance in instances]
        else:
            faults = await self._bounded(asyncio.gather(*(self._make(instance) for instance in instances)))
        for spec in self._place.edges:
            placed = self._instances.get(spec.consumer)
            if placed is not None:
                limits = {"limit_items": max(1, spec.limit_items), "limit_bytes": max(1, spec.limit_bytes)}
                edge = self._incoming[spec.id] = placed.inbox.add_edge(spec.id, spec.input, **limits)
                self._reporter.incoming.append(edge)
                if spec.serialize_groups:
                    placed.inbox.serialize_groups(spec.input)
                if spec.reopenable and spec.producer not in self._instances:
                    from lanemesh.lanes.recovery.reopening import Reopening

                    edge.reopening = Reopening(edge, own_groups=spec.own_groups)
                rerouted = self.incarnation and spec.replayable
                if spec.producer_server and spec.producer not in self._instances and not rerouted:
                    self._unopened[spec.id] = spec
        kept: dict[str, list[Edge]] = {}
        for spec in self._place.edges:
            if spec.replayable and spec.consumer in self._instances:
                kept.setdefault(spec.consumer, []).append(self._incoming[spec.id])
        for component, edges in kept.items():
            from lanemesh.server.host.recovery import CommitTracker

            self._instances[component].commits = CommitTracker(edges)
        found = [self._secrets.fault(fault) for fault in faults if fault is not None]
        if self._opens_at_start and not found:
            self._make_outputs()
            if not any(control.helper_address for control in self._place.controls):
                found = await self._reach(())
        return found

    async def connect(self) -> list[Fault]:
        """Opens every outgoing lane, unless they are opened at the start, and reaches every helper. Returns all faults."""
        self.phase = Phase.CONNECTING
        if self._opens_at_start:
            faults = await self._reach(())
        else:
            self._make_outputs()
            faults = await self._reach([sender.open() for sender in self._senders.values()])
        if not faults and not self.cancelling and self.phase is Phase.CONNECTING:
            self.phase = Phase.CONNECTED
        return faults

    def begin(self) -> None:
        """`start` has come."""
        self.phase = Phase.STARTED
        self.dial()

    def dial(self) -> None:
        """Opens the outgoing lanes at the start, without waiting for their consumers."""
        if self._opens_at_start:
            for sender in self._senders.values():
                sender.dial()

    def _make_outputs(self) -> None:
        """Creates the outputs of every instance, with lanes that are not opened yet."""
        for placed in self._instances.values():
            placed.outputs = self._factory.outputs(placed, self._incoming)
            senders = placed.outputs.senders
            self._senders.update({sender.edge_id: sender for sender in senders})
            if placed.commits is not None:
                placed.commits.senders = senders

    async def _reach(self, openings: Iterable[Awaitable[None]]) -> list[Fault]:
        """Waits for the opening of lanes, and reaches every helper. Returns all faults."""
        work = list(openings)
        if self._place.controls or any(placed.node.invokes for placed in self._instances.values()):
            work += self._wire()
        if not work:
            return []
        results = await self._bounded(asyncio.gather(*work, return_exceptions=True))
        faults = [Fault.from_exception(error) for error in results if isinstance(error, Exception)]
        return [self._secrets.fault(fault.located(server=self._server)) for fault in faults if fault is not None]

    def _wire(self) -> list[Awaitable[None]]:
        """Sets the clients in the contexts of invokers. Returns awaitables that reach every helper."""
        from lanemesh.control.ends import wire_optional
        from lanemesh.server.host.wiring import Wiring

        remote = any(control.helper_address for control in self._place.controls)
        wiring = Wiring(self.run_id, self.helpers, self._host.pool if remote else None, self._traces)
        for placed in self._instances.values():
            wire_optional(type(placed.node), placed.context)
        contexts = {component: placed.context for component, placed in self._instances.items()}
        return wiring.wire(self._place.controls, contexts)

    async def execute(self) -> list[Fault]:
        """Runs every instance to its end. Returns their faults, in the order of occurrence."""
        timeout = seconds_of(self._place.timeout) if self._place.HasField("timeout") else None
        unopened = [] if self._opens_at_start else self._not_opened()
        if unopened:
            await self.cancel("not every lane was opened")
            return unopened
        with within(within_seconds(timeout)):
            for component, placed in self._instances.items():
                if not placed.instance.helper:
                    task = asyncio.create_task(self._supervise(placed), name=f"{self.run_id} {component}")
                    self._tasks[component] = task
                    task.add_done_callback(lambda _: self._left.set())
        self._going.update(self._tasks)
        beside: list[asyncio.Task[None]] = []
        if timeout is not None:
            beside.append(asyncio.create_task(self._expire(timeout), name=f"{self.run_id} timeout"))
        if self._traces is not None:
            beside.append(asyncio.create_task(self._traces.pass_on(), name=f"{self.run_id} traces"))
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []
        seconds = self._host.edge_update_seconds
        if seconds < inf:
            timers.append(loop.call_later(seconds, lambda: beside.append(self._report_edges(seconds))))
        if self._opens_at_start:
            timers.append(loop.call_later(OPEN_SECONDS, self._check_opened))
        try:
            await self._all_ended()
            if self._opens_at_start:
                await self._all_opened()
        finally:
            for timer in timers:
                timer.cancel()
            self._stalls.close()
            for task in beside:
                task.cancel()
            if beside:
                await asyncio.gather(*beside, return_exceptions=True)
        if self._traces is not None:
            await self._traces.end()
        await self._reporter.edges()
        await self._close_helpers()  # calls that their callers have left may go on, and count as active until they end
        await self._reporter.helpers_ended()
        await self._release()
        return [self._secrets.fault(fault) for fault in self._faults]

    def _report_edges(self, seconds: float) -> asyncio.Task[None]:
        """Starts to report the edges at this interval. Most short runs end before."""
        return asyncio.create_task(self._reporter.report_periodically(seconds), name=f"{self.run_id} edges")

    def _not_opened(self) -> list[Fault]:
        """Faults of incoming lanes from other servers that were not opened, although every server has connected or started."""
        did = "started" if self._opens_at_start else "connected"
        return [
            Fault(
                code=Code.FAILED_PRECONDITION,
                reason="lane-not-opened",
                message=f'the node server "{edge.producer_server}" has {did}, but has not opened the lane {edge.id}',
                details={"server": self._server, "lane": edge.id, "component": edge.consumer},
            )
            for edge in self._unopened.values()
        ]

    async def _all_opened(self) -> None:
        """Waits until every incoming lane from another server was opened: one whose consumer ended before that is not refused."""
        if not self.cancelling and self._unopened:
            await self._opened.wait()

    def _check_opened(self) -> None:
        """Ends the edges whose lanes were not opened in time: their consumers would wait for ever."""
        self._opened.set()
        for fault in self._not_opened():
            edge = self._incoming[fault.details["lane"]]
            awaits_producer = edge.reopening is not None and edge.reopening.detached
            if not edge.ended and not edge.stopped and not awaits_producer:
                self._faults.append(fault)
                edge.end(fault)

    @property
    def is_closing(self) -> bool:
        """Whether every node has ended, and nothing but the close of their lanes is awaited."""
        ended = all(placed.ended for placed in self._instances.values())
        return self.phase is Phase.STARTED and ended and not self._awaits_others

    @property
    def _awaits_others(self) -> bool:
        """Whether `finished` may have to wait when all nodes have ended: for lanes, helpers, processes or traces."""
        placed = self._instances.values()
        return bool(self._unopened or self.helpers or self._traces or any(one.isolated is not None for one in placed))

    async def _expire(self, seconds: float) -> None:
        """Ends a run after its time limit if it was not cancelled."""
        await asyncio.sleep(seconds + TIMEOUT_GRACE_SECONDS)
        message = f"the run took longer than its timeout of {seconds:g} s"
        where = {"server": self._server}
        self._faults.append(Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message, details=where))
        await self.cancel(message)

    async def fail(self, fault: Fault) -> None:
        """Cancels a started run, whose faults then include this one."""
        self._faults.append(fault)
        await self.cancel(fault.message)

    async def cancel(self, reason: str) -> None:
        """Stops all work of this run here. Returns when it has stopped, or after 8 s without the work that has not."""
        again, self.cancelling = self.cancelling, True
        self._released.set()
        self._opened.set()
        if self._work is not None:
            self._work.cancel()
        await asyncio.sleep(0)  # a task that is cancelled before its start would not call `finalize`
        for placed in self._instances.values():  # not earlier: a node that ends by itself meanwhile is not interrupted
            placed.context.cancelled = True
        tasks = {component: task for component, task in self._tasks.items() if not task.done()}
        for task in tasks.values():
            if not again:  # a second cancellation would interrupt the handling of the first one, such as `finalize`
                task.cancel(reason)
        if tasks:
            await asyncio.wait(tasks.values(), timeout=CANCEL_SECONDS)
            for component, task in tasks.items():
                if not task.done() and component in self._instances:
                    await self._abandon(self._instances[component])
        if self.phase is not Phase.STARTED:
            unheard = [placed.outputs for placed in self._instances.values() if placed.outputs is not None]
            await asyncio.gather(*(self._abort(outputs, _CANCELLED) for outputs in unheard))
            for placed in self._instances.values():
                placed.inbox.stop(_CANCELLED.message, _CANCELLED)
        await self._release()

    async def _abandon(self, placed: HostedInstance, fault: Fault | None = None) -> None:
        """Continues without a node that ignores its cancellation: its later outputs are discarded. `fault` is the reason of the
        cancellation, if it had failed."""
        component = placed.instance.component
        task = self._tasks.pop(component, None)
        if task is None:
            return
        abandon(task)
        what = f"it ignored its cancellation for {CANCEL_SECONDS:g} s and was abandoned"
        log.error("%s %s: %s", self.run_id, component, fault.message if fault is not None else what)
        placed.context.cancelled = True
        why = fault.as_secondary() if fault is not None else _CANCELLED
        placed.inbox.stop(why.message, why)
        if placed.outputs is not None:
            await self._abort(placed.outputs, why)
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

    def grow(self, grow: node_pb2.Grow) -> None:
        """Raises the limits of an incoming lane. Its producer gets further credit."""
        edge = self._incoming.get(grow.edge_id)
        if edge is not None:
            edge.grow(grow.limit_items, grow.limit_bytes)

    async def probe(self, number: int) -> None:
        """Reports the current state of every actor."""
        placed = self._instances.values()
        going = {one.instance.component: one.context.waits for one in placed if one.actor is not None and not one.ended}
        answer = probed(number, going, self._senders.values(), self._incoming.values())
        await self._send(node_pb2.HostResponse(probed=answer))

    def detach(self, detach: node_pb2.Detach) -> node_pb2.Detached:
        """Detaches lanes whose other ends are lost."""
        from lanemesh.server.host.recovery import detached

        edges = detached(detach.edge_ids, self._senders, self._incoming)
        for edge in edges:
            if edge.done and edge.edge_id in self._incoming:
                self._note_accepted(edge.edge_id)  # no lane will be opened
        return node_pb2.Detached(id=detach.id, edges=edges)

    def reroute(self, reroute: node_pb2.Reroute) -> None:
        """Reconnects lanes to the new addresses of their consumers; those whose consumers have ended are not opened again."""
        from lanemesh.server.host.recovery import reroute as reroute_lanes

        reroute_lanes(reroute.edges, reroute.ended_edges, self._senders)

    def accept(self, opening: lane_pb2.LaneOpen, refuse: Refuse) -> Edge:
        """The consumer end of an edge. Raises the error that `refuse` makes if there is none, it has a lane already, or the lane
        does not carry the key of the run."""
        if self._place.lane_key and not hmac.compare_digest(opening.lane_key, self._place.lane_key):
            lacks = "carries the key of another run" if opening.lane_key else "carries no key"
            why = f"it {lacks}. Only producers that the orchestrator of the run has placed may open its lanes"
            raise refuse(Code.PERMISSION_DENIED, "wrong-lane-key", why)
        edge = self._incoming.get(opening.edge_id)
        if edge is None:
            raise refuse(Code.NOT_FOUND, "unknown-edge", "the run has no such edge here")
        own = self._types[edge.id]
        if opening.lane_type != own.wire:
            raise refuse(Code.INVALID_ARGUMENT, "lane-mismatch", f"the edge is of type {own.value}, the lane is not")
        if opening.reopen:
            if edge.reopening is None or not edge.reopening.detached or edge.ended:
                raise refuse(Code.FAILED_PRECONDITION, "not-detached", "the edge does not wait for a new lane")
            edge.reopening.reopen()
        elif edge.id in self._accepted:
            raise refuse(Code.ALREADY_EXISTS, "already-open", "the edge has a lane already")
        elif edge.reopening is not None and edge.reopening.detached:
            raise refuse(
                Code.FAILED_PRECONDITION, "producer-lost", "its producer counts as lost; the edge waits for another"
            )
        if opening.resume_from:
            if edge.committed is None:
                raise refuse(Code.FAILED_PRECONDITION, "no-resume", "the lanes of this edge cannot be resumed")
            edge.resumed_from = opening.resume_from
        self._note_accepted(edge.id)
        return edge

    def _note_accepted(self, edge_id: str) -> None:
        self._accepted.add(edge_id)
        if self._unopened.pop(edge_id, None) is not None and not self._unopened:
            self._opened.set()

    def lane_type(self, edge: Edge) -> LaneType:
        """The type of an edge's items."""
        return self._types[edge.id]

    def decide(self, decision: node_pb2.ApprovalDecision) -> None:
        """Ends the wait of a component for an approval."""
        placed = self._instances.get(decision.component)
        if placed is not None:
            placed.context.approvals.decide(decision)

    def release_helpers(self) -> None:
        """Every node of the run has ended on all servers: helpers are no longer needed."""
        self._released.set()

    async def _all_ended(self) -> None:
        """Waits until every instance has ended or was abandoned, and helpers are no longer needed."""
        while any(not task.done() for task in self._tasks.values()):
            self._left.clear()
            await self._left.wait()
        await asyncio.gather(*self._abandoning)
        if self.helpers:
            await self._released.wait()

    async def _bounded(self, work: asyncio.Future[Any]) -> Any:
        """Waits for a phase; `cancel` ends it."""
        self._work = asyncio.ensure_future(work)
        try:
            return await self._work
        except asyncio.CancelledError:
            if not self.cancelling:
                raise
            return [_CANCELLED]
        finally:
            self._work = None

    async def _make(self, instance: node_pb2.Instance) -> Fault | None:
        where = {"component": instance.component, "provider": instance.provider, "server": self._server}
        try:
            placed = self._instances[instance.component] = await self._factory.instance(instance)
            if placed.node.offers:
                from lanemesh.control.instance import HelperInstance

                self.helpers[instance.component] = HelperInstance(placed.node, placed.context)
            if placed.isolated is not None:
                await placed.isolated.start()
        except BaseException as error:
            return Fault.from_exception(failure_of(error), **where).located(**where)
        return None

    async def _supervise(self, placed: HostedInstance) -> None:
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
        self._stalls.add(instance.component, placed.context.waits)
        try:
            if not self._place.merges_frames:
                await self._reporter.node(instance.component, State.RUNNING)
            self._reporter.firing[instance.component] = actor
            outcome = await actor.run()
            if placed.commits is not None:  # until then it may be placed again
                await outputs.closed()
            await self._ended(placed, outcome)
            await outputs.closed()
            self._check_lanes(placed, outputs, outcome)
            self._going.discard(instance.component)
            self.is_finishing = not (self._going or self._awaits_others)
        except asyncio.CancelledError:
            if not self.cancelling:
                await self._broken(placed, outputs, NoException(asyncio.CancelledError()))
                raise
            await self._abort(outputs, _CANCELLED)
            placed.inbox.stop(_CANCELLED.message, _CANCELLED)
            await self._ended(placed, actor.outcome(State.CANCELLED, detail=actor.abandoned))
        except BaseException as error:  # an error of the server itself must end the run too
            await self._broken(placed, outputs, failure_of(error))
        finally:
            if placed.commits is not None:
                placed.commits.settle()

    async def _broken(self, placed: HostedInstance, outputs: Outputs, error: Exception) -> None:
        """Ends a component whose supervision has failed: its lanes and its inbox, so that no other component waits for it."""
        component = placed.instance.component
        if component not in self._tasks:
            return  # it was abandoned, and ends with its event loop
        log.error("%s %s: its supervision failed", self.run_id, component, exc_info=error)
        where = {"server": self._server, "component": component, "provider": placed.instance.provider}
        fault = self._secrets.fault(Fault.from_exception(error, **where))
        self._faults.append(fault)
        placed.inbox.stop(f"{component} failed", fault.as_secondary())
        await self._abort(outputs, fault.as_secondary())
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
            self._faults.append(outcome.fault.located(**where))
        await self._reporter.node(placed.instance.component, outcome.state, outcome, self._server)
        if cancelled is not None:
            raise cancelled

    def _check_lanes(self, placed: HostedInstance, outputs: Outputs, outcome: Outcome) -> None:
        """Reports a lane that broke after the end of its node and before its consumer has taken all items."""
        for sender in outputs.senders:
            if sender.fault is not None and outcome.fault is None:
                self._faults.append(sender.fault.located(server=self._server, component=placed.instance.component))

    async def _abort(self, outputs: Outputs, fault: Fault) -> None:
        await asyncio.gather(*(sender.abort(fault) for sender in outputs.senders))

    async def _release(self) -> None:
        instances = list(self._instances.values())
        self._instances.clear()
        for edge in self._incoming.values():
            edge.settle()
            if edge.reopening is not None:
                edge.reopening.close()
        await self._close_helpers()
        for placed in instances:
            if placed.instance.helper:
                await self._finalize(placed)
            if placed.isolated is not None:
                await placed.isolated.close(at_once=self.cancelling)
            await placed.context.channels.end()
            if placed.batches is not None:
                self._host.resources.release_batch_body(placed.node)
            if placed.isolated is None:
                self._host.resources.release(type(placed.node), placed.node.config, placed.node.resource)

    async def _close_helpers(self) -> None:
        """Ends the calls of helpers from other servers, and accepts no more."""
        await asyncio.gather(*(helper.close() for helper in self.helpers.values()))

    async def _finalize(self, placed: HostedInstance) -> None:
        """Finalizes a helper, which has no actor."""
        try:
            async with asyncio.timeout(FINALIZE_SECONDS):
                await call_hook(placed.node.finalize, placed.context)
        except Exception as error:
            where = {"component": placed.instance.component, "server": self._server}
            self._faults.append(Fault.from_exception(error, **where))


def _traces(
    level: update_pb2.TraceLevel.ValueType,
    types: Mapping[str, LaneType],
    send: Callable[[update_pb2.Update], Awaitable[None]],
    secrets: Secrets,
) -> Traces | None:
    """The traces of the items of the run; None if it is not traced."""
    if level <= update_pb2.TRACE_LEVEL_NONE:
        return None
    from lanemesh.server.host.taps import Traces

    return Traces(level, types, send, secrets)
