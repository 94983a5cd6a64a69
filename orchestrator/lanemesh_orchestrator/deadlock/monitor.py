"""Watches one run for deadlock and for standing still: asks what its actors are doing, grows lanes, says who waits for whom."""

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

if TYPE_CHECKING:  # what looks into a run is imported when a run is first looked into
    from lanemesh_orchestrator.deadlock.detector import Deadlock
    from lanemesh_orchestrator.deadlock.snapshot import EdgeIndex, Snapshot

ANSWER_SECONDS = 2.0
"""How long a node server may take to answer a probe; one that takes longer counts as busy."""
HURRIED_SECONDS = 0.5
"""How long it may take when a run is about to end."""
PAUSE_SECONDS = 0.02
"""Between two probes."""
LOOKS = 4
"""How often a suspicion is looked into before it is dropped until somebody stalls again."""
MOST_REPORTED = 3
"""Most waits that the error of a run names."""
QUIET_SECONDS = 5.0
"""How long nothing moves before an update says who waits for whom."""

logger = logging.getLogger("lanemesh.runs")


class DeadlockMonitor:
    """The watch over one run. It asks its node servers only when one of them says that an actor has been waiting for room for a
    while, or when nothing has moved for 5 s."""

    def __init__(
        self, run_id: str, graph: Graph, tell: Callable[[update_pb2.Update], None], fail: Callable[[Fault], None]
    ) -> None:
        self._run_id = run_id
        self._graph = graph
        self._tell = tell
        self._fail = fail
        self._consumer_of = {edge.id: edge.consumer for edge in graph.edges}
        self._latest: dict[str, update_pb2.EdgeUpdate] = {}
        self._growths: dict[str, int] = {}
        self._details: dict[str, str] = {}
        """Why an edge was grown last."""
        self._quiet: dict[str, str] = {}
        """What was told when nothing moved."""
        self._still = False
        """Nothing has moved since that was told."""
        self._moved_at = asyncio.get_running_loop().time()
        self._stalled = False
        self._wake = asyncio.Event()

    # What happens in the run

    def stalled(self) -> None:
        """An actor has been waiting for room for a while."""
        self._stalled = True
        self._wake.set()

    def observe(self, update: update_pb2.Update) -> None:
        """Something moved. An update of an edge is given what this watch knows of it."""
        self._moved_at = asyncio.get_running_loop().time()
        if update.WhichOneof("kind") == "edge":
            edge = update.edge
            edge.growths = self._growths.get(edge.edge_id, 0)
            edge.detail = self._details.get(edge.edge_id, "")
            self._latest[edge.edge_id] = edge
            self._quiet.pop(edge.edge_id, None)
        if self._still:
            self._still = False
            quiet, self._quiet = self._quiet, {}
            for edge_id in quiet:  # what was said there is no longer true
                self._report_edge(edge_id, self._details.get(edge_id, ""))
            self._wake.set()

    # The watch

    async def watch(self, hosts: Collection[HostHandle]) -> None:
        """Watches until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout_at(None if self._still else self._moved_at + QUIET_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                if asyncio.get_running_loop().time() < self._moved_at + QUIET_SECONDS:
                    continue
            self._wake.clear()
            stalled, self._stalled = self._stalled, False
            try:
                if stalled:
                    await self._look_into(hosts)
                elif not self._still:
                    await self._report_quiet(hosts)
            except Exception:  # the run goes on without its watch
                logger.exception("run %s", self._run_id)

    async def who_waits(self, hosts: Collection[HostHandle]) -> str:
        """Who waits for whom, in a few words; empty if nobody does, or nobody answers."""
        look = await self._look(hosts, HURRIED_SECONDS)
        found = list(self._waits(look).values())
        return "; ".join(
            found[:MOST_REPORTED] + ([f"and {len(found) - MOST_REPORTED} more"] if len(found) > MOST_REPORTED else [])
        )

    @cached_property
    def _links(self) -> EdgeIndex:
        from lanemesh_orchestrator.deadlock.snapshot import links_of

        return links_of(self._graph)

    def _waits(self, look: Snapshot) -> Mapping[str, str]:
        from lanemesh_orchestrator.deadlock.snapshot import who_waits

        return who_waits(self._links, look, source=self._graph.source)

    async def _look_into(self, hosts: Collection[HostHandle]) -> None:
        """Finds deadlock and grows lanes until there is none."""
        from lanemesh_orchestrator.deadlock.detector import find_deadlock, is_suspect

        left, suspicious = LOOKS, False
        while left:
            left -= 1
            before = await self._look(hosts)
            if is_suspect(self._links, before):
                suspicious = True
                await asyncio.sleep(PAUSE_SECONDS)
                stuck = find_deadlock(self._links, before, await self._look(hosts))
                if stuck is not None:
                    if stuck.at_ceiling:
                        self._fail(deadlock(stuck))
                        return
                    await self._grow(stuck, hosts)
                    left = LOOKS  # most often it is stuck again a moment later
            elif not suspicious:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look(self, hosts: Collection[HostHandle], seconds: float | None = None) -> Snapshot:
        from lanemesh_orchestrator.deadlock.snapshot import Snapshot

        seconds = ANSWER_SECONDS if seconds is None else seconds
        answers = await asyncio.gather(*(host.probe(seconds) for host in hosts))
        return Snapshot.of(answer for answer in answers if answer is not None)

    async def _grow(self, stuck: Deadlock, hosts: Collection[HostHandle]) -> None:
        lane = stuck.lane
        self._growths[lane] = self._growths.get(lane, 0) + 1
        self._details[lane] = (
            f"grown to {stuck.limit_items:,} items and {stuck.limit_bytes:,} bytes, because otherwise {stuck.cycle}"
        )
        logger.info("run %s: the lane %s is %s", self._run_id, lane, self._details[lane])
        grow = node_pb2.Grow(edge_id=lane, limit_items=stuck.limit_items, limit_bytes=stuck.limit_bytes)
        for host in [*hosts]:  # the consumer's: its next update of the edge tells of it
            if any(instance.component == self._consumer_of[lane] for instance in host.place.instances):
                await host.send(node_pb2.HostRequest(grow=grow))

    async def _report_quiet(self, hosts: Collection[HostHandle]) -> None:
        asked_at = self._moved_at
        look = await self._look(hosts)
        if self._moved_at != asked_at:
            return
        self._still = True
        for edge_id, detail in self._waits(look).items():
            self._quiet[edge_id] = detail
            self._report_edge(edge_id, detail)

    def _report_edge(self, edge_id: str, detail: str) -> None:
        state = update_pb2.EdgeUpdate(edge_id=edge_id, growths=self._growths.get(edge_id, 0))
        if edge_id in self._latest:
            state.CopyFrom(self._latest[edge_id])
        state.detail = detail
        self._tell(update_pb2.Update(edge=state))


def deadlock(stuck: Deadlock) -> Fault:
    """How a run fails whose lanes may not grow any more."""
    from lanemesh_orchestrator.deadlock import snapshot

    return Fault(
        code=Code.RESOURCE_EXHAUSTED,
        reason="deadlock",
        message=f"the run is deadlocked: {stuck.cycle}; the lane {stuck.lane} cannot grow beyond "
        f"{snapshot.MAX_LIMIT_ITEMS:,} items and {snapshot.MAX_LIMIT_BYTES:,} bytes. "
        "Let the collecting node take its items when they arrive, or send it fewer",
        details={"lane": stuck.lane, "components": ", ".join(sorted(stuck.components))},
    )
