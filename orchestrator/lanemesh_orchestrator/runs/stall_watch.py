"""Watches one run for deadlock and for standing still: asks what its actors are doing, grows lanes, says who waits for whom."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from lanemesh.lanes.faults import Code, Fault
from lanemesh.v1 import node_pb2, run_pb2

from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.runs import looks
from lanemesh_orchestrator.runs.looks import Link, Links, Look
from lanemesh_orchestrator.runs.seat import Seat
from lanemesh_orchestrator.runs.stalls import Stuck, find_stuck, is_suspect
from lanemesh_orchestrator.runs.standstill import who_waits

ANSWER_SECONDS = 2.0
"""How long a node server may take to answer a probe; one that takes longer counts as busy."""
HURRIED_SECONDS = 0.5
"""How long it may take when a run is about to end."""
PAUSE_SECONDS = 0.02
"""Between two probes."""
LOOKS = 4
"""How often a suspicion is looked into before it is dropped until somebody stalls again."""
MOST_TOLD = 3
"""Most waits that the error of a run names."""
QUIET_SECONDS = 5.0
"""How long nothing moves before an update says who waits for whom."""

logger = logging.getLogger("lanemesh.runs")


class StallWatch:
    """The watch over one run. It asks its node servers only when one of them says that an actor has been waiting for room for a
    while, or when nothing has moved for 5 s."""

    def __init__(
        self, run_id: str, graph: Graph, tell: Callable[[run_pb2.Update], None], fail: Callable[[Fault], None]
    ) -> None:
        self._run_id = run_id
        self._source = graph.source
        self._tell = tell
        self._fail = fail
        self._links = links_of(graph)
        self._consumer_of = {edge.id: edge.consumer for edge in graph.edges}
        self._latest: dict[str, run_pb2.EdgeUpdate] = {}
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

    def saw(self, update: run_pb2.Update) -> None:
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
                self._tell_edge(edge_id, self._details.get(edge_id, ""))
            self._wake.set()

    # The watch

    async def watch(self, seats: Collection[Seat]) -> None:
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
                    await self._look_into(seats)
                elif not self._still:
                    await self._tell_quiet(seats)
            except Exception:  # the run goes on without its watch
                logger.exception("run %s", self._run_id)

    async def who_waits(self, seats: Collection[Seat]) -> str:
        """Who waits for whom, in a few words; empty if nobody does, or nobody answers."""
        look = await self._look(seats, HURRIED_SECONDS)
        found = list(who_waits(self._links, look, source=self._source).values())
        return "; ".join(found[:MOST_TOLD] + ([f"and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []))

    async def _look_into(self, seats: Collection[Seat]) -> None:
        """Finds deadlock and grows lanes until there is none."""
        left, suspicious = LOOKS, False
        while left:
            left -= 1
            before = await self._look(seats)
            if is_suspect(self._links, before):
                suspicious = True
                await asyncio.sleep(PAUSE_SECONDS)
                stuck = find_stuck(self._links, before, await self._look(seats))
                if stuck is not None:
                    if stuck.at_ceiling:
                        self._fail(deadlock(stuck))
                        return
                    await self._grow(stuck, seats)
                    left = LOOKS  # most often it is stuck again a moment later
            elif not suspicious:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look(self, seats: Collection[Seat], seconds: float | None = None) -> Look:
        seconds = ANSWER_SECONDS if seconds is None else seconds
        answers = await asyncio.gather(*(seat.probe(seconds) for seat in seats))
        return Look.of(answer for answer in answers if answer is not None)

    async def _grow(self, stuck: Stuck, seats: Collection[Seat]) -> None:
        lane = stuck.lane
        self._growths[lane] = self._growths.get(lane, 0) + 1
        self._details[lane] = (
            f"grown to {stuck.limit_items:,} items and {stuck.limit_bytes:,} bytes, since without it {stuck.cycle}"
        )
        logger.info("run %s: the lane %s is %s", self._run_id, lane, self._details[lane])
        grow = node_pb2.Grow(edge_id=lane, limit_items=stuck.limit_items, limit_bytes=stuck.limit_bytes)
        for seat in [*seats]:  # the consumer's: its next update of the edge tells of it
            if any(instance.component == self._consumer_of[lane] for instance in seat.place.instances):
                await seat.send(node_pb2.HostRequest(grow=grow))

    async def _tell_quiet(self, seats: Collection[Seat]) -> None:
        asked_at = self._moved_at
        look = await self._look(seats)
        if self._moved_at != asked_at:
            return
        self._still = True
        for edge_id, detail in who_waits(self._links, look, source=self._source).items():
            self._quiet[edge_id] = detail
            self._tell_edge(edge_id, detail)

    def _tell_edge(self, edge_id: str, detail: str) -> None:
        state = run_pb2.EdgeUpdate(edge_id=edge_id, growths=self._growths.get(edge_id, 0))
        if edge_id in self._latest:
            state.CopyFrom(self._latest[edge_id])
        state.detail = detail
        self._tell(run_pb2.Update(edge=state))


def links_of(graph: Graph) -> Links:
    """The edges of a graph, for the detector."""
    lists = {
        (component.id, port.name)
        for component in graph.components.values()
        for port in component.manifest.inputs
        if port.list
    }
    return Links(
        (Link(edge.id, edge.producer, edge.consumer, edge.input) for edge in graph.edges),
        {
            (edge.consumer, edge.input)
            for edge in graph.edges
            if (edge.consumer, edge.input_port or edge.input) in lists
        },
    )


def deadlock(stuck: Stuck) -> Fault:
    """How a run fails whose lanes may not grow any more."""
    return Fault(
        code=Code.RESOURCE_EXHAUSTED,
        reason="deadlock",
        message=f"the run is deadlocked: {stuck.cycle}; the lane {stuck.lane} may not grow beyond {looks.MAX_LIMIT_ITEMS:,} items "
        f"and {looks.MAX_LIMIT_BYTES:,} bytes. Let the node that collects take its items as they come, or give it fewer",
        details={"lane": stuck.lane, "components": ", ".join(sorted(stuck.components))},
    )
