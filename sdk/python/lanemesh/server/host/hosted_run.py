"""One run on one node host: its instances, their lanes and helpers, from `place` to `finished`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Any

from lanemesh._aio.time_left import within, within_seconds
from lanemesh.faults import Code, Fault
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.sender import LaneSender
from lanemesh.node.context import ClientLink
from lanemesh.redaction import Secrets, secrets_of
from lanemesh.server.host.incoming_lanes import IncomingLanes, Refuse
from lanemesh.server.host.instances import InstanceFactory, InstanceHost
from lanemesh.server.host.placed_instances import PlacedInstances
from lanemesh.server.host.probing import BlockedEmitWatch, probed
from lanemesh.server.host.reporting import RunReporter, Send, TrySend
from lanemesh.server.host.supervision import CANCELLED, NodeSupervisor
from lanemesh.times import seconds_of
from lanemesh.v1 import lane_pb2, node_pb2, update_pb2

if TYPE_CHECKING:
    from lanemesh.server.host.taps import Traces

TIMEOUT_GRACE_SECONDS = 2.0
"""How much longer than its timeout a run may take before a host ends its part by itself. The orchestrator ends it earlier."""
OPEN_SECONDS = 30.0
"""How long after the start of a run the lanes from other servers may take to be opened."""


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
        self._lanes = IncomingLanes(place, self._server)
        self._reporter = RunReporter(send, try_send, self._secrets)
        self._traces = _traces(place.trace, self._lanes.types, self._reporter.report, self._secrets)
        self._factory = InstanceFactory(host, place, self._reporter, client, self._secrets, self._traces)
        self._faults: list[Fault] = []
        self._placed = PlacedInstances(self._factory, host.resources, self._server, on_fault=self._faults.append)
        self._instances = self._placed.by_component
        self.helpers = self._placed.helpers
        """The instances that serve control connections, by component."""
        self._reporter.helpers = self.helpers
        self._senders: dict[str, LaneSender] = {}
        self._work: asyncio.Future[Any] | None = None
        self._stalls = BlockedEmitWatch(
            lambda component: try_send(node_pb2.HostResponse(stalled=node_pb2.Stalled(component=component)))
        )
        self._supervisor = NodeSupervisor(
            *(place, self._server, self._reporter, self._secrets, self._stalls),
            on_fault=self._faults.append,
            on_closed=self._check_finishing,
        )
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
            faults = [await self._placed.make(instance) for instance in instances]
        else:
            faults = await self._bounded(asyncio.gather(*(self._placed.make(instance) for instance in instances)))
        for spec in self._place.edges:
            placed = self._instances.get(spec.consumer)
            if placed is not None:
                edge = self._lanes.add(spec, placed.inbox, is_local=spec.producer in self._instances)
                self._reporter.incoming.append(edge)
        kept: dict[str, list[Edge]] = {}
        for spec in self._place.edges:
            if spec.replayable and spec.consumer in self._instances:
                kept.setdefault(spec.consumer, []).append(self._lanes.edges[spec.id])
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
            placed.outputs = self._factory.outputs(placed, self._lanes.edges)
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
        unopened = [] if self._opens_at_start else self._lanes.not_opened()
        if unopened:
            await self.cancel("not every lane was opened")
            return unopened
        with within(within_seconds(timeout)):
            for placed in self._instances.values():
                if not placed.instance.helper:
                    self._supervisor.start(placed)
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
            timers.append(loop.call_later(OPEN_SECONDS, self._end_unopened))
        try:
            await self._all_ended()
            if self._opens_at_start and not self.cancelling:  # a lane whose consumer ended before that is not refused
                await self._lanes.opened()
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
        await self._reporter.helpers_ended()
        await self._release()
        return [self._secrets.fault(fault) for fault in self._faults]

    def _report_edges(self, seconds: float) -> asyncio.Task[None]:
        """Starts to report the edges at this interval. Most short runs end before."""
        return asyncio.create_task(self._reporter.report_periodically(seconds), name=f"{self.run_id} edges")

    def _end_unopened(self) -> None:
        self._faults.extend(self._lanes.end_unopened())

    def _check_finishing(self) -> None:
        """A node has ended, with all its lanes closed."""
        self.is_finishing = self._supervisor.all_closed and not self._awaits_others

    @property
    def is_closing(self) -> bool:
        """Whether every node has ended, and nothing but the close of their lanes is awaited."""
        ended = all(placed.ended for placed in self._instances.values())
        return self.phase is Phase.STARTED and ended and not self._awaits_others

    @property
    def _awaits_others(self) -> bool:
        """Whether `finished` may have to wait when all nodes have ended: for lanes, helpers, processes or traces."""
        placed = self._instances.values()
        return bool(
            self._lanes.are_awaited or self.helpers or self._traces or any(one.isolated is not None for one in placed)
        )

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
        self._supervisor.begin_cancel()
        self._released.set()
        self._lanes.stop_waiting()
        if self._work is not None:
            self._work.cancel()
        await asyncio.sleep(0)  # a task that is cancelled before its start would not call `finalize`
        for placed in self._instances.values():  # not earlier: a node that ends by itself meanwhile is not interrupted
            placed.context.cancelled = True
        await self._supervisor.cancel(reason, again=again)
        if self.phase is not Phase.STARTED:
            await asyncio.gather(*(placed.abort(CANCELLED) for placed in self._instances.values()))
            for placed in self._instances.values():
                placed.inbox.stop(CANCELLED.message, CANCELLED)
        await self._release()

    def grow(self, grow: node_pb2.Grow) -> None:
        """Raises the limits of an incoming lane. Its producer gets further credit."""
        self._lanes.grow(grow)

    async def probe(self, number: int) -> None:
        """Reports the current state of every actor."""
        placed = self._instances.values()
        going = {one.instance.component: one.context.waits for one in placed if one.actor is not None and not one.ended}
        answer = probed(number, going, self._senders.values(), self._lanes.edges.values())
        await self._send(node_pb2.HostResponse(probed=answer))

    def detach(self, detach: node_pb2.Detach) -> node_pb2.Detached:
        """Detaches lanes whose other ends are lost."""
        from lanemesh.server.host.recovery import detached

        edges = detached(detach.edge_ids, self._senders, self._lanes.edges)
        for edge in edges:
            if edge.done and edge.edge_id in self._lanes.edges:
                self._lanes.open_none(edge.edge_id)
        return node_pb2.Detached(id=detach.id, edges=edges)

    def reroute(self, reroute: node_pb2.Reroute) -> None:
        """Reconnects lanes to the new addresses of their consumers; those whose consumers have ended are not opened again."""
        from lanemesh.server.host.recovery import reroute as reroute_lanes

        reroute_lanes(reroute.edges, reroute.ended_edges, self._senders)

    def accept(self, opening: lane_pb2.LaneOpen, refuse: Refuse) -> Edge:
        """The consumer end of an edge, for a lane. Raises the error that `refuse` makes if the lane may not be opened."""
        return self._lanes.accept(opening, refuse)

    def lane_type(self, edge: Edge) -> LaneType:
        """The type of an edge's items."""
        return self._lanes.types[edge.id]

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
        await self._supervisor.all_ended()
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
            return [CANCELLED]
        finally:
            self._work = None

    async def _release(self) -> None:
        self._lanes.close()
        await self._placed.release(at_once=lambda: self.cancelling)


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
