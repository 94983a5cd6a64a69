"""Places again what a lost node server ran, where all of it is recoverable."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import replace
from functools import cached_property

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import node_pb2, update_pb2

from lanemesh_orchestrator.pipeline import Edge, Graph, ServerAddress, plan
from lanemesh_orchestrator.pipeline.recovery import recovery_blockers, settled, without_recovery
from lanemesh_orchestrator.runs.host_handle import HostHandle

MAX_TIMES = 3
"""Most times that one component of a run is placed again."""
MAX_FAILURES = 6
"""Most attempts in a row that may fail, since further servers are lost or refuse."""
PAUSE_SECONDS = 0.05
"""Before a second attempt; doubled before each further one. Servers that are gone are known to be by then."""
DETACH_SECONDS = 25.0
"""How long a node server may take to let go of lanes: one that is frozen is noticed to be lost within 20 s."""
PLACE_SECONDS = 600.0
"""How long node servers may take to place components again; models load in this time."""
CONNECT_SECONDS = 30.0
"""How long they may take to open lanes and reach helpers."""

logger = logging.getLogger("lanemesh.runs")

Reassign = Callable[[str, Collection[update_pb2.Placement]], update_pb2.Placement]
"""Chooses a server for a component, by its name, other than these lost ones, and takes room there. Raises LanemeshError if there
is none."""


class Recovery:
    """The recovery of one run. One attempt at a time, for all that is missing; servers may be lost meanwhile.

    An attempt has the other servers let go of their lanes to what was lost, places and connects it elsewhere as a further part of
    the run, has the producers send there what was not processed, and starts it.
    """

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        hosts: MutableMapping[str, HostHandle],
        *,
        open_host: Callable[[node_pb2.Place, str], HostHandle],
        tell: Callable[[update_pb2.Update], Awaitable[None]],
        fail: Callable[[Fault], None],
        time_left: Callable[[], float | None],
        placed_again: Callable[[Collection[str]], None],
        traceparent: str = "",
    ) -> None:
        """`hosts` are the servers that the run has, by names that are this run's own; lost ones leave it, and new ones come in.

        Args:
            take_seat: makes the seat for a server's part, given the server's name.
            tell: tells an update.
            fail: is told the fault of a lost server that could not be made up for.
            time_left: seconds that the run may still take.
            placed_again: is told of components that now live elsewhere.
            traceparent: the trace that the run belongs to.
        """
        self._run_id = run_id
        self._graph = graph
        self._hosts = hosts
        self._take_seat = open_host
        self._tell = tell
        self._fail = fail
        self._time_left = time_left
        self._placed_again = placed_again
        self._traceparent = traceparent
        self._servers: dict[str, ServerAddress] = {}
        self.placements: dict[str, update_pb2.Placement] = {}
        """Where each component lives, with the servers that it has lost."""
        self._substitute: Reassign | None = None
        self._gone: list[HostHandle] = []
        self._missing: dict[str, Fault] = {}
        """Components whose server is lost, with the fault that tells of it."""
        self._lost: list[update_pb2.Placement] = []
        """Where nothing is placed again."""
        self._earlier: dict[str, list[update_pb2.Placement]] = defaultdict(list)
        """Where each component has run, on servers that were lost."""
        self._times: Counter[str] = Counter()
        self._incarnation = 0
        self._task: asyncio.Task[None] | None = None

    def begin(
        self,
        servers: Mapping[str, ServerAddress],
        placements: Iterable[update_pb2.Placement],
        reassign: Reassign,
    ) -> None:
        """The run is placed: `servers` and `placements` say where each component lives."""
        self._servers, self.placements = dict(servers), {where.component: where for where in placements}
        self._substitute = reassign

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The recovery that is under way, if there is one."""
        return self._task

    async def stop(self) -> None:
        """Gives up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await _leave(self._gone)

    def lost(self, host: HostHandle, fault: Fault, going: Collection[str], *, failing: bool) -> None:
        """A server is lost: places what it ran again, or fails the run, which may be `failing` already. `going` are the components
        that have not ended."""
        components = [instance.component for instance in host.place.instances if instance.component in going]
        blocker = self._blocker([instance.component for instance in host.place.instances])
        if blocker is not None or failing:
            self._fail(_told(fault, blocker or ""))
            return
        self._hosts.pop(_key(host), None)
        self._gone.append(host)
        self._lost.extend(self.placements[name] for name in components)
        for name in components:
            self._earlier[name].append(_alone(self.placements[name]))
        self._missing.update(dict.fromkeys(components, fault))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._recover(), name=f"{self._run_id} recovery")

    def _blocker(self, components: Collection[str]) -> str | None:
        """Why these are not placed again: empty if nobody expects it of them; None if they are."""
        hindered = {name: self._blockers[name] for name in components if self._blockers[name]}
        if not hindered:
            return None
        if not any(self._graph.components[name].manifest.restartable for name in components):
            return ""
        reasons = "; ".join(f"{name} {why}" for name, why in hindered.items())
        return f"it was not placed again, since {reasons}"

    @cached_property
    def _blockers(self) -> Mapping[str, str]:
        return recovery_blockers(self._graph, without_recovery(self._servers))

    async def _recover(self) -> None:
        """Tries until nothing is missing."""
        failures = 0
        while self._missing:
            fault = next(iter(self._missing.values()))
            try:
                in_the_way = await self._attempt(dict(self._missing))
                failures = failures + 1 if in_the_way else 0
                if failures >= MAX_FAILURES:
                    raise LanemeshError(in_the_way[0])
                if in_the_way:
                    await asyncio.sleep(PAUSE_SECONDS * 2 ** (failures - 1))
            except LanemeshError as error:
                self._fail(_told(fault, f"it was not placed again: {error.fault.message}"))
                return
            except Exception as error:  # a fault of the orchestrator itself must end the run too
                logger.exception("run %s", self._run_id)
                self._fail(Fault.from_exception(error, component="orchestrator"))
                return

    async def _attempt(self, missing: Mapping[str, Fault]) -> list[Fault]:
        """Places again what is missing. Returns what was in the way, which may not be next time.

        Raises:
            LanemeshError: it cannot be placed again.
        """
        done = await self._detach(missing)
        if self._missing.keys() != missing.keys():
            return []  # another server was lost meanwhile
        over = settled(self._graph, missing, done)
        for name in over:
            del self._missing[name]
            await self._report_node(
                name, update_pb2.NODE_STATE_COMPLETED, "its server was lost after its work was done"
            )
        components = [name for name in missing if name not in over]
        if not components:
            return []
        self._choose(components)
        self._placed_again(components)
        hosts = self._open_hosts(components, done)
        try:
            for name in components:
                where = self.placements[name]
                lost = missing[name].details.get("server", "")
                detail = f'its node server "{lost}" was lost; placed again on "{where.server}"'
                await self._report_node(name, update_pb2.NODE_STATE_STARTING, detail, where)
            faults = await self._prepare(hosts)
            if not faults:
                await self._start(hosts, components, done)
                return []
        except BaseException:
            await _leave(hosts)
            raise
        unfit = [host for host in hosts if host.finished.done() or not host.placed.done() or host.placed.result()]
        for host in unfit:
            components = [instance.component for instance in host.place.instances]
            self._lost.extend(self.placements[name] for name in components)
            loss = next((fault for fault in faults if fault.details.get("server") == host.server), None)
            if loss is not None and loss.reason == "server-lost":
                self._missing.update(dict.fromkeys(components, loss))
        await _leave(hosts)
        return faults

    async def _detach(self, missing: Collection[str]) -> set[str]:
        """Has all other servers let go of the lanes to what is missing. Returns the edges that need no other end.

        Raises:
            LanemeshError: an edge cannot go on with another end, or a server does not answer.
        """
        homes = {instance.component: host for host in self._hosts.values() for instance in host.place.instances}
        asked: dict[HostHandle, list[str]] = defaultdict(list)
        done: set[str] = set()
        for edge, other in self._bordering(missing):
            if other in homes:
                asked[homes[other]].append(edge.id)
            else:  # it has ended, and its server is lost since
                done.add(edge.id)
        answers = await asyncio.gather(*(host.detach(ids, DETACH_SECONDS) for host, ids in asked.items()))
        for (host, ids), answer in zip(asked.items(), answers, strict=True):
            if answer is None and not host.finished.done():
                raise LanemeshError(_silent(host))
            faults = host.finished.result() if answer is None else ()
            told = {edge.edge_id: edge for edge in answer.edges} if answer is not None else {}
            for edge_id in ids:
                if edge_id in told and told[edge_id].HasField("fault"):
                    raise LanemeshError(Fault.from_proto(told[edge_id].fault))
                if edge_id not in told or told[edge_id].done:
                    done.add(edge_id)
            if faults and host in self._hosts.values():  # else it is lost as well, and there will be another attempt
                raise LanemeshError(faults[0])
        return done

    def _bordering(self, missing: Collection[str]) -> list[tuple[Edge, str]]:
        """The edges with one missing end, each with its other end."""
        return [
            (edge, edge.consumer if edge.producer in missing else edge.producer)
            for edge in self._graph.edges
            if (edge.producer in missing) != (edge.consumer in missing)
        ]

    def _choose(self, components: Collection[str]) -> None:
        """Chooses servers. Raises LanemeshError if there is none for one of them, or it was placed again too often."""
        assert self._substitute is not None
        self._incarnation += 1
        for name in components:
            if self._times[name] >= MAX_TIMES:
                message = f"{name} was placed again {MAX_TIMES} times already"
                raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="lost-too-often", message=message))
            placement = self.placements[name] = self._substitute(name, self._lost)
            placement.earlier.extend(self._earlier[name])
            self._servers[name] = ServerAddress(placement.server, placement.address, self._incarnation)

    def _open_hosts(self, components: Collection[str], done: Collection[str]) -> list[HostHandle]:
        places = plan(
            self._graph,
            self._servers,
            run_id=self._run_id,
            timeout=self._time_left(),
            traceparent=self._traceparent,
            again=components,
            done=done,
        )
        return [self._take_seat(place, server) for server, place in places.items()]

    async def _prepare(self, hosts: Collection[HostHandle]) -> list[Fault]:
        """Places and connects. Returns what is in the way."""
        for host in hosts:
            host.begin()
        await asyncio.gather(*(host.send(node_pb2.HostRequest(place=host.place)) for host in hosts))
        faults = await _answers([host.placed for host in hosts], PLACE_SECONDS, "place its components")
        if faults:
            return faults
        await asyncio.gather(*(host.send(node_pb2.HostRequest(connect=node_pb2.Connect())) for host in hosts))
        faults = await _answers([host.connected for host in hosts], CONNECT_SECONDS, "open the lanes")
        return faults or [fault for host in hosts if host.finished.done() for fault in host.finished.result()]

    async def _start(self, hosts: Collection[HostHandle], components: Collection[str], done: Collection[str]) -> None:
        """Makes the seats part of the run, has producers send to them, and starts them."""
        for name in components:
            self._times[name] += 1
            self._missing.pop(name, None)
        for host in hosts:
            host.started = True
            self._hosts[_key(host)] = host
        for host, reroute in self._reroutes(components, done):
            await host.send(node_pb2.HostRequest(reroute=reroute))
        for host in hosts:
            await host.send(node_pb2.HostRequest(start=node_pb2.Start()))

    def _reroutes(
        self, components: Collection[str], done: Collection[str]
    ) -> list[tuple[HostHandle, node_pb2.Reroute]]:
        homes = {instance.component: host for host in self._hosts.values() for instance in host.place.instances}
        found: dict[HostHandle, node_pb2.Reroute] = defaultdict(node_pb2.Reroute)
        for edge, other in self._bordering(components):
            if edge.producer == other and edge.id not in done and other in homes:
                to = self._servers[edge.consumer]
                found[homes[other]].edges.add(edge_id=edge.id, consumer_address=to.address, incarnation=to.incarnation)
        return list(found.items())

    async def _report_node(
        self,
        component: str,
        state: update_pb2.NodeState.ValueType,
        detail: str,
        placement: update_pb2.Placement | None = None,
    ) -> None:
        node = update_pb2.NodeUpdate(component=component, state=state, detail=detail, placement=placement)
        await self._tell(update_pb2.Update(node=node))


def _key(host: HostHandle) -> str:
    """What tells the seats of a run apart."""
    return f"{host.server}#{host.place.incarnation}" if host.place.incarnation else host.server


def _alone(placement: update_pb2.Placement) -> update_pb2.Placement:
    """A placement without those before it."""
    alone = update_pb2.Placement()
    alone.CopyFrom(placement)
    del alone.earlier[:]
    return alone


def _told(fault: Fault, why: str) -> Fault:
    return replace(fault, message=f"{fault.message}; {why}") if why else fault


def _silent(host: HostHandle) -> Fault:
    message = f'the node server "{host.server}" did not let go of its lanes within {DETACH_SECONDS:g} s'
    return Fault(code=Code.DEADLINE_EXCEEDED, reason="phase-timeout", message=message)


async def _answers(answers: Collection[asyncio.Future[list[Fault]]], seconds: float, what: str) -> list[Fault]:
    """What is in the way of a phase, once all servers have answered."""
    _, late = await asyncio.wait(answers, timeout=seconds)  # not `gather`, which would cancel them
    if not late:
        return [fault for answer in answers for fault in answer.result()]
    message = f"a node server did not {what} within {seconds:g} s"
    return [Fault(code=Code.DEADLINE_EXCEEDED, reason="phase-timeout", message=message)]


async def _leave(hosts: Collection[HostHandle]) -> None:
    await asyncio.gather(*(host.stop("its components are placed elsewhere") for host in hosts))
