"""Recovers a run from the loss of a node server: places its components again, if all of them are recoverable."""

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
from lanemesh_orchestrator.runs.unkept import Unkept
from lanemesh_orchestrator.runs.update_router import UpdateRouter
from lanemesh_orchestrator.runs.verdict import Verdict
from lanemesh_orchestrator.scheduling.assignment import Assignment

MAX_TIMES = 3
"""Most times that one component of a run is placed again."""
MAX_FAILURES = 6
"""Most consecutive failed attempts; attempts fail if further servers are lost or refuse."""
RETRY_SECONDS = (0.1, 1.6)
"""Bounds of the first pause between attempts and of every pause. All pauses together take 1.5 to 3 s, in which lost servers are
detected."""
DETACH_SECONDS = 25.0
"""Time limit for a node server to detach lanes. The loss of a frozen server is detected within 20 s."""

logger = logging.getLogger("lanemesh.runs")


class Recovery:
    """The recovery of one run. It makes one attempt at a time, for all missing components; further servers may be lost meanwhile.

    An attempt makes the other servers detach their lanes to the missing components, places and connects these on other servers,
    makes the producers replay the items that were not processed, and starts the components.
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
            assignment: assigns components to servers.
            hosts: the hosts of the run; lost hosts are removed and new ones are added.
            router: gets the states of components that are placed again.
            verdict: gets the fault of a lost server if recovery is not possible.
            time_left: returns the remaining seconds of the run; None: no limit.
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
        """The present server of each component, with its earlier lost servers."""
        self._lost_hosts: list[HostHandle] = []
        self._missing: dict[str, Fault] = {}
        """Components whose server is lost, each with the fault of the loss."""
        self._excluded: list[update_pb2.Placement] = []
        """Lost or unfit servers, which are excluded from new assignments."""
        self._earlier: dict[str, list[update_pb2.Placement]] = defaultdict(list)
        """The earlier lost servers of each component."""
        self._unkept = Unkept(graph)
        self._times: Counter[str] = Counter()
        self._incarnation = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The active recovery, if there is one."""
        return self._task

    async def stop(self) -> None:
        """Cancels the active recovery."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await _stop_hosts(self._lost_hosts)

    def lost(self, host: HostHandle, fault: Fault) -> None:
        """Handles the loss of a server: places its components again, or fails the run."""
        components = [instance.component for instance in host.place.instances]
        blocker = self._blocker(components)
        if blocker is not None or self._verdict.is_failing:
            lanes = {edge.id for edge in self._graph.edges if edge.consumer in components}
            not_kept = self._verdict.lane_fault("not-kept", lanes)  # may arrive before the loss
            why = blocker or (f"it was not placed again: {not_kept.message}" if not_kept is not None else "")
            self._verdict.add(_with_reason(fault, why))
            return
        components = [name for name in components if name in self._router.going]
        self._hosts.remove(host)
        self._lost_hosts.append(host)
        self._excluded.extend(self.placements[name] for name in components)
        for name in components:
            self._earlier[name].append(_without_earlier(self.placements[name]))
        self._missing.update(dict.fromkeys(components, fault))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._recover(), name=f"{self._run_id} recovery")

    def _blocker(self, components: Collection[str]) -> str | None:
        """Why these components cannot be placed again; empty if none of them is restartable; None if they can."""
        blocked = {name: self._blockers[name] for name in components if self._blockers[name]}
        if not blocked:
            return None
        if not any(self._graph.components[name].manifest.restartable for name in components):
            return ""
        reasons = "; ".join(f"{name} {why}" for name, why in blocked.items())
        return f"it was not placed again, because {reasons}"

    @cached_property
    def _blockers(self) -> Mapping[str, str]:
        return recovery_blockers(self._graph, without_recovery(self._servers))

    async def _recover(self) -> None:
        """Makes attempts until no component is missing."""
        failures, backoff = 0, Backoff(*RETRY_SECONDS)
        while self._missing:
            fault = next(iter(self._missing.values()))
            try:
                faults = await self._attempt(dict(self._missing))
                failures = failures + 1 if faults else 0
                if not faults:
                    backoff.reset()
                if failures >= MAX_FAILURES:
                    raise LanemeshError(faults[0])
                if faults:
                    await asyncio.sleep(backoff.next())
            except LanemeshError as error:
                self._verdict.add(_with_reason(fault, f"it was not placed again: {error.fault.message}"))
                return
            except Exception as error:  # a fault of the orchestrator itself must end the run too
                logger.exception("run %s", self._run_id)
                self._verdict.add(Fault.from_exception(error, component="orchestrator"))
                return

    async def _attempt(self, missing: Mapping[str, Fault]) -> list[Fault]:
        """Places the missing components again, once. Returns the faults that prevented it, which may be transient.

        Raises:
            LanemeshError: recovery is not possible.
        """
        done = await self._detach(missing)
        if self._missing.keys() != missing.keys():
            return []  # another server was lost meanwhile
        delivered = self._unkept.delivered(missing, done)
        completed = settled(self._graph, missing, done) | delivered
        done |= {edge.id for edge, _ in self._border_edges(completed)}
        self._unkept.add(delivered, done)
        for name in completed:
            del self._missing[name]
            await self._report_node(
                name, update_pb2.NODE_STATE_COMPLETED, "its server was lost after its work was done"
            )
        await self._end_edges(delivered)
        components = [name for name in missing if name not in completed]
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
                if self._unkept.beyond(components, done).isdisjoint(self._missing):
                    self._unkept.add(components, done)
                    await self._start(hosts, components, done)
                else:  # lost meanwhile: the next attempt places them again too, while the items for them are still kept
                    await _stop_hosts(hosts)
                return []
        except BaseException:
            await _stop_hosts(hosts)
            raise
        unfit = [host for host in hosts if host.finished.done() or not host.placed.done() or host.placed.result()]
        for host in unfit:
            components = [instance.component for instance in host.place.instances]
            self._excluded.extend(self.placements[name] for name in components)
            loss = next((fault for fault in faults if fault.details.get("server") == host.server), None)
            if loss is not None and loss.reason == "server-lost":
                self._missing.update(dict.fromkeys(components, loss))
        await _stop_hosts(hosts)
        return faults

    async def _detach(self, missing: Collection[str]) -> set[str]:
        """Makes all other servers detach their lanes to the missing components. Returns the edges whose lost end is not replaced.

        Raises:
            LanemeshError: an edge cannot continue with a new end, or a server does not answer.
        """
        homes = self._homes()
        asked: dict[HostHandle, list[str]] = defaultdict(list)
        done: set[str] = set()
        for edge, other in self._border_edges(missing):
            if other in homes:
                asked[homes[other]].append(edge.id)
            else:  # the other end has ended, and its server was lost later
                done.add(edge.id)
        answers = await asyncio.gather(*(host.detach(ids, DETACH_SECONDS) for host, ids in asked.items()))
        for (host, ids), answer in zip(asked.items(), answers, strict=True):
            if answer is None and not host.finished.done():
                raise LanemeshError(_silent(host))
            faults = host.finished.result() if answer is None else ()
            detached = {edge.edge_id: edge for edge in answer.edges} if answer is not None else {}
            for edge_id in ids:
                if edge_id in detached and detached[edge_id].HasField("fault"):
                    raise LanemeshError(Fault.from_proto(detached[edge_id].fault))
                if edge_id not in detached or detached[edge_id].done:
                    done.add(edge_id)
            if faults and host in self._hosts:  # otherwise the host is lost too, and another attempt follows
                raise LanemeshError(faults[0])
        return done

    def _border_edges(self, missing: Collection[str]) -> list[tuple[Edge, str]]:
        """The edges between a missing and a present component, each with the present component."""
        return [
            (edge, edge.consumer if edge.producer in missing else edge.producer)
            for edge in self._graph.edges
            if (edge.producer in missing) != (edge.consumer in missing)
        ]

    async def _end_edges(self, consumers: Collection[str]) -> None:
        """Ends the lanes to components that need no more items, although they have not acknowledged all."""
        homes = self._homes()
        found: dict[HostHandle, list[str]] = defaultdict(list)
        for edge, other in self._border_edges(consumers):
            if edge.producer == other and other in homes:
                found[homes[other]].append(edge.id)
        for host, ids in found.items():
            await host.send(node_pb2.HostRequest(reroute=node_pb2.Reroute(ended_edges=ids)))

    def _homes(self) -> dict[str, HostHandle]:
        """The present host of each component."""
        return {instance.component: host for host in self._hosts for instance in host.place.instances}

    def _choose(self, components: Collection[str]) -> None:
        """Assigns new servers. Raises LanemeshError if a component has no possible server, or was placed again too often."""
        self._incarnation += 1
        for name in components:
            if self._times[name] >= MAX_TIMES:
                message = f"{name} was placed again {MAX_TIMES} times already"
                raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="lost-too-often", message=message))
            placement = self.placements[name] = self._assignment.reassign(name, self._excluded)
            placement.earlier.extend(self._earlier[name])
            self._servers[name] = ServerAddress(placement.server, placement.address, self._incarnation)

    async def _start(self, hosts: Collection[HostHandle], components: Collection[str], done: Collection[str]) -> None:
        """Adds the hosts to the run, reroutes the lanes of their producers, and starts them."""
        for name in components:
            self._times[name] += 1
            self._missing.pop(name, None)
        self._hosts.add(hosts)
        await phases.start(hosts, self._reroutes(components, done))

    def _reroutes(
        self, components: Collection[str], done: Collection[str]
    ) -> list[tuple[HostHandle, node_pb2.HostRequest]]:
        homes = self._homes()
        found: dict[HostHandle, node_pb2.Reroute] = defaultdict(node_pb2.Reroute)
        for edge, other in self._border_edges(components):
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


def _without_earlier(placement: update_pb2.Placement) -> update_pb2.Placement:
    """A copy of a placement without its earlier placements."""
    copy = update_pb2.Placement()
    copy.CopyFrom(placement)
    del copy.earlier[:]
    return copy


def _with_reason(fault: Fault, why: str) -> Fault:
    return replace(fault, message=f"{fault.message}; {why}") if why else fault


def _silent(host: HostHandle) -> Fault:
    message = f'the node server "{host.server}" did not detach its lanes within {DETACH_SECONDS:g} s'
    return Fault(code=Code.DEADLINE_EXCEEDED, reason="phase-timeout", message=message)


def _listed(faults: phases.FaultsByServer) -> list[Fault]:
    return [fault for found in faults.values() for fault in found]


async def _stop_hosts(hosts: Collection[HostHandle]) -> None:
    await stop_all(hosts, "its components are placed on other servers")
