"""Places again what a lost node server ran, where all of it is recoverable."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cached_property

from lanemesh._aio.backoff import Backoff
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import node_pb2, update_pb2

from lanemesh_orchestrator.pipeline import Edge, Graph, ServerAddress
from lanemesh_orchestrator.pipeline.recovery import recovery_blockers, settled, without_recovery
from lanemesh_orchestrator.runs import phases
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.runs.hosts import RunHosts, stop_all
from lanemesh_orchestrator.runs.update_router import UpdateRouter
from lanemesh_orchestrator.runs.verdict import Verdict
from lanemesh_orchestrator.scheduling.assignment import Assignment

MAX_TIMES = 3
"""Most times that one component of a run is placed again."""
MAX_FAILURES = 6
"""Most attempts in a row that may fail, since further servers are lost or refuse."""
RETRY_SECONDS = (0.1, 1.6)
"""Bounds of the pause before the second attempt and of every pause: all of them take 1.5 to 3 s. Servers that are gone are known to
be by then."""
DETACH_SECONDS = 25.0
"""How long a node server may take to let go of lanes: one that is frozen is noticed to be lost within 20 s."""

logger = logging.getLogger("lanemesh.runs")


class Recovery:
    """The recovery of one run. One attempt at a time, for all that is missing; servers may be lost meanwhile.

    An attempt has the other servers let go of their lanes to what was lost, places and connects it elsewhere as a further part of
    the run, has the producers send there what was not processed, and starts it.
    """

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        assignment: Assignment,
        hosts: RunHosts,
        router: UpdateRouter,
        verdict: Verdict,
        time_left: Callable[[], float | None],
    ) -> None:
        """The recovery of a run that has started.

        Args:
            run_id: of the run.
            graph: its pipeline.
            assignment: where each component runs, and where else it may.
            hosts: those of the run; lost ones leave them, and new ones are added.
            router: gets what is reported of components that are placed again.
            verdict: gets the fault of a lost server that cannot be recovered from.
            time_left: seconds that the run may still take; None: any time.
        """
        self._run_id = run_id
        self._graph = graph
        self._assignment = assignment
        self._hosts = hosts
        self._router = router
        self._verdict = verdict
        self._time_left = time_left
        self._servers = assignment.servers()
        self.placements = {placement.component: placement for placement in assignment.placements()}
        """Where each component lives, with the servers that it has lost."""
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

    def lost(self, host: HostHandle, fault: Fault) -> None:
        """A server is lost: places what it ran again, or fails the run."""
        components = [instance.component for instance in host.place.instances]
        blocker = self._blocker(components)
        if blocker is not None or self._verdict.is_failing:
            self._verdict.add(_told(fault, blocker or ""))
            return
        components = [name for name in components if name in self._router.going]
        self._hosts.remove(host)
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
        return f"it was not placed again, because {reasons}"

    @cached_property
    def _blockers(self) -> Mapping[str, str]:
        return recovery_blockers(self._graph, without_recovery(self._servers))

    async def _recover(self) -> None:
        """Tries until nothing is missing."""
        failures, backoff = 0, Backoff(*RETRY_SECONDS)
        while self._missing:
            fault = next(iter(self._missing.values()))
            try:
                in_the_way = await self._attempt(dict(self._missing))
                failures = failures + 1 if in_the_way else 0
                if not in_the_way:
                    backoff.reset()
                if failures >= MAX_FAILURES:
                    raise LanemeshError(in_the_way[0])
                if in_the_way:
                    await asyncio.sleep(backoff.next())
            except LanemeshError as error:
                self._verdict.add(_told(fault, f"it was not placed again: {error.fault.message}"))
                return
            except Exception as error:  # a fault of the orchestrator itself must end the run too
                logger.exception("run %s", self._run_id)
                self._verdict.add(Fault.from_exception(error, component="orchestrator"))
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
        self._router.placed_again(components)
        hosts = await self._hosts.open(self._servers, self._time_left(), again=components, done=done)
        try:
            for name in components:
                where = self.placements[name]
                lost = missing[name].details.get("server", "")
                detail = f'its node server "{lost}" was lost; placed again on "{where.server}"'
                await self._report_node(name, update_pb2.NODE_STATE_STARTING, detail, where)
            faults = _listed(await phases.place(hosts)) or _listed(await phases.connect(hosts))
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
        homes = {instance.component: host for host in self._hosts for instance in host.place.instances}
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
            if faults and host in self._hosts:  # else it is lost as well, and there will be another attempt
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
        self._incarnation += 1
        for name in components:
            if self._times[name] >= MAX_TIMES:
                message = f"{name} was placed again {MAX_TIMES} times already"
                raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="lost-too-often", message=message))
            placement = self.placements[name] = self._assignment.reassign(name, self._lost)
            placement.earlier.extend(self._earlier[name])
            self._servers[name] = ServerAddress(placement.server, placement.address, self._incarnation)

    async def _start(self, hosts: Collection[HostHandle], components: Collection[str], done: Collection[str]) -> None:
        """Makes the hosts a part of the run, has producers send to them, and starts them."""
        for name in components:
            self._times[name] += 1
            self._missing.pop(name, None)
        self._hosts.add(hosts)
        await phases.start(hosts, self._reroutes(components, done))

    def _reroutes(
        self, components: Collection[str], done: Collection[str]
    ) -> list[tuple[HostHandle, node_pb2.HostRequest]]:
        homes = {instance.component: host for host in self._hosts for instance in host.place.instances}
        found: dict[HostHandle, node_pb2.Reroute] = defaultdict(node_pb2.Reroute)
        for edge, other in self._bordering(components):
            if edge.producer == other and edge.id not in done and other in homes:
                to = self._servers[edge.consumer]
                found[homes[other]].edges.add(edge_id=edge.id, consumer_address=to.address, incarnation=to.incarnation)
        return [(host, node_pb2.HostRequest(reroute=reroute)) for host, reroute in found.items()]

    async def _report_node(
        self,
        component: str,
        state: update_pb2.NodeState.ValueType,
        detail: str,
        placement: update_pb2.Placement | None = None,
    ) -> None:
        node = update_pb2.NodeUpdate(component=component, state=state, detail=detail, placement=placement)
        await self._router.report(update_pb2.Update(node=node))


def _alone(placement: update_pb2.Placement) -> update_pb2.Placement:
    """A placement without those before it."""
    alone = update_pb2.Placement()
    alone.CopyFrom(placement)
    del alone.earlier[:]
    return alone


def _told(fault: Fault, why: str) -> Fault:
    return replace(fault, message=f"{fault.message}; {why}") if why else fault


def _silent(host: HostHandle) -> Fault:
    message = f'the node server "{host.server}" did not detach its lanes within {DETACH_SECONDS:g} s'
    return Fault(code=Code.DEADLINE_EXCEEDED, reason="phase-timeout", message=message)


def _listed(faults: phases.FaultsByServer) -> list[Fault]:
    return [fault for found in faults.values() for fault in found]


async def _leave(hosts: Collection[HostHandle]) -> None:
    await stop_all(hosts, "its components are placed on other servers")
