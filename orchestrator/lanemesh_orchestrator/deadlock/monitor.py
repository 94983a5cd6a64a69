"""Monitors one run: probes its actors, grows lanes to resolve deadlocks, and reports the waits of a run without progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault
from lanemesh.v1 import node_pb2, update_pb2

from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.runs.host_handle import HostHandle

if TYPE_CHECKING:  # imported when a run is first probed
    from lanemesh_orchestrator.deadlock.detector import Deadlock
    from lanemesh_orchestrator.deadlock.snapshot import EdgeIndex, Snapshot

ANSWER_SECONDS = 2.0
"""How long a node server may take to answer a probe; one that takes longer counts as busy."""
HURRIED_SECONDS = 0.5
"""Time limit of an answer when the run is about to end."""
PAUSE_SECONDS = 0.02
"""Time between two probes."""
MAX_CHECKS = 4
"""Most checks of a suspected deadlock before the monitor drops it until another actor stalls."""
MOST_REPORTED = 3
"""Most waits that the error of a run names."""
QUIET_SECONDS = 5.0
"""Time without progress after which updates report the waits."""

logger = logging.getLogger("lanemesh.runs")


class DeadlockMonitor:
    """The deadlock monitor of one run. It probes the node servers only after one of them has reported a stalled actor, or after
    5 s without progress."""

    def __init__(
        self, run_id: str, graph: Graph, report: Callable[[update_pb2.Update], None], fail: Callable[[Fault], None]
    ) -> None:
        self._run_id = run_id
        self._graph = graph
        self._report = report
        self._fail = fail
        self._consumer_of = {edge.id: edge.consumer for edge in graph.edges}
        self._latest: dict[str, update_pb2.EdgeUpdate] = {}
        self._growths: dict[str, int] = {}
        self._details: dict[str, str] = {}
        """The reason for the latest growth of each edge."""
        self._reported_waits: dict[str, str] = {}
        """The waits that were reported by edge when there was no progress."""
        self._is_quiet = False
        """Whether there was no progress since that report."""
        self._moved_at = asyncio.get_running_loop().time()
        self._stalled = False
        self._wake = asyncio.Event()

    # Events of the run

    def stalled(self) -> None:
        """Handles the report that an actor has been waiting for capacity for a while."""
        self._stalled = True
        self._wake.set()

    def observe(self, update: update_pb2.Update) -> None:
        """Records progress. Adds the growths of the edge and their reason to an update of an edge."""
        self._moved_at = asyncio.get_running_loop().time()
        if update.WhichOneof("kind") == "edge":
            edge = update.edge
            edge.growths = self._growths.get(edge.edge_id, 0)
            edge.detail = self._details.get(edge.edge_id, "")
            self._latest[edge.edge_id] = edge
            self._reported_waits.pop(edge.edge_id, None)
        if self._is_quiet:
            self._is_quiet = False
            quiet, self._reported_waits = self._reported_waits, {}
            for edge_id in quiet:  # the reported waits are out of date
                self._report_edge(edge_id, self._details.get(edge_id, ""))
            self._wake.set()

    # Monitoring

    async def watch(self, hosts: Collection[HostHandle]) -> None:
        """Monitors the run until cancelled."""
        while True:
            try:
                async with asyncio.timeout_at(None if self._is_quiet else self._moved_at + QUIET_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                if asyncio.get_running_loop().time() < self._moved_at + QUIET_SECONDS:
                    continue
            self._wake.clear()
            stalled, self._stalled = self._stalled, False
            try:
                if stalled:
                    await self._resolve_deadlocks(hosts)
                elif not self._is_quiet:
                    await self._report_quiet(hosts)
            except Exception:  # the run continues without its monitor
                logger.exception("run %s", self._run_id)

    async def describe_waits(self, hosts: Collection[HostHandle]) -> str:
        """A short description of the root waits; empty if no actor waits or no server answers."""
        snapshot = await self._probe(hosts, HURRIED_SECONDS)
        found = list(self._waits(snapshot).values())
        return "; ".join(
            found[:MOST_REPORTED] + ([f"and {len(found) - MOST_REPORTED} more"] if len(found) > MOST_REPORTED else [])
        )

    @cached_property
    def _links(self) -> EdgeIndex:
        from lanemesh_orchestrator.deadlock.snapshot import edge_index

        return edge_index(self._graph)

    def _waits(self, snapshot: Snapshot) -> Mapping[str, str]:
        from lanemesh_orchestrator.deadlock.snapshot import root_waits

        return root_waits(self._links, snapshot, source=self._graph.source)

    async def _resolve_deadlocks(self, hosts: Collection[HostHandle]) -> None:
        """Detects deadlocks and grows lanes until there is none."""
        from lanemesh_orchestrator.deadlock.detector import find_deadlock, is_suspect

        left, suspicious = MAX_CHECKS, False
        while left:
            left -= 1
            before = await self._probe(hosts)
            if is_suspect(self._links, before):
                suspicious = True
                await asyncio.sleep(PAUSE_SECONDS)
                found = find_deadlock(self._links, before, await self._probe(hosts))
                if found is not None:
                    if found.at_ceiling:
                        self._fail(deadlock(found))
                        return
                    await self._grow(found, hosts)
                    left = MAX_CHECKS  # another deadlock often follows soon after
            elif not suspicious:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _probe(self, hosts: Collection[HostHandle], seconds: float | None = None) -> Snapshot:
        from lanemesh_orchestrator.deadlock.snapshot import Snapshot

        seconds = ANSWER_SECONDS if seconds is None else seconds
        answers = await asyncio.gather(*(host.probe(seconds) for host in hosts))
        return Snapshot.of(answer for answer in answers if answer is not None)

    async def _grow(self, found: Deadlock, hosts: Collection[HostHandle]) -> None:
        lane = found.lane
        self._growths[lane] = self._growths.get(lane, 0) + 1
        self._details[lane] = (
            f"grown to {found.limit_items:,} items and {found.limit_bytes:,} bytes, because otherwise {found.cycle}"
        )
        logger.info("run %s: the lane %s is %s", self._run_id, lane, self._details[lane])
        grow = node_pb2.Grow(edge_id=lane, limit_items=found.limit_items, limit_bytes=found.limit_bytes)
        for host in [*hosts]:  # the host of the consumer: its next update of the edge reports the growth
            if any(instance.component == self._consumer_of[lane] for instance in host.place.instances):
                await host.send(node_pb2.HostRequest(grow=grow))

    async def _report_quiet(self, hosts: Collection[HostHandle]) -> None:
        asked_at = self._moved_at
        snapshot = await self._probe(hosts)
        if self._moved_at != asked_at:
            return
        self._is_quiet = True
        for edge_id, detail in self._waits(snapshot).items():
            self._reported_waits[edge_id] = detail
            self._report_edge(edge_id, detail)

    def _report_edge(self, edge_id: str, detail: str) -> None:
        state = update_pb2.EdgeUpdate(edge_id=edge_id, growths=self._growths.get(edge_id, 0))
        if edge_id in self._latest:
            state.CopyFrom(self._latest[edge_id])
        state.detail = detail
        self._report(update_pb2.Update(edge=state))


def deadlock(found: Deadlock) -> Fault:
    """The fault of a deadlocked run whose lane cannot grow any more."""
    from lanemesh_orchestrator.deadlock import snapshot

    return Fault(
        code=Code.RESOURCE_EXHAUSTED,
        reason="deadlock",
        message=f"the run is deadlocked: {found.cycle}; the lane {found.lane} cannot grow beyond "
        f"{snapshot.MAX_LIMIT_ITEMS:,} items and {snapshot.MAX_LIMIT_BYTES:,} bytes. "
        "Let the collecting node take its items when they arrive, or send it fewer",
        details={"lane": found.lane, "components": ", ".join(sorted(found.components))},
    )
