"""Finds artificial deadlock (Parks, 1995): nodes that wait for one another because a bounded lane between them is full.

Pure functions: they take the reports of the node servers and return a verdict. One snapshot proves nothing, because both ends of
a busy healthy lane wait at almost any instant. A second snapshot with the same waits is a proof if nothing was in transit between
the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from lanemesh.node.waits import Wait

from lanemesh_orchestrator.deadlock import snapshot
from lanemesh_orchestrator.deadlock.snapshot import ActorState, EdgeIndex, Link, Snapshot


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A proven deadlock."""

    components: frozenset[str]
    """The components that wait for one another. None of them can proceed before a lane between them grows."""
    lane: str
    """The edge to grow: the smallest full edge between these components."""
    limit_items: int
    """Its new limit in items; doubled if it is reached."""
    limit_bytes: int
    """Its new limit in bytes; doubled if it is reached."""
    cycle: str
    """The chain of waits in words."""
    at_ceiling: bool
    """Whether the edge has reached the largest limits, so that it cannot grow."""


def closed_wait_set(links: EdgeIndex, latest: Snapshot, before: Snapshot | None = None) -> frozenset[str]:
    """The largest set of idle actors that no actor outside the set can wake.

    If an earlier snapshot is given, no actor of the set has moved since then, and nothing was in transit on the edges between
    them. The actors then wait for ever, unless an event outside the run ends their waits.
    """
    idle = {
        name
        for name, actor in latest.actors.items()
        if actor.waits and (before is None or _unmoved(before.actors.get(name), actor))
    }
    view = _View(links, latest, before, idle)
    while gone := [name for name in idle if any(view.may_end(name, wait) for wait in latest.actors[name].waits)]:
        idle.difference_update(gone)
    return frozenset(idle)


def is_suspect(links: EdgeIndex, latest: Snapshot) -> bool:
    """Whether one snapshot shows a possible deadlock."""
    view = _View(links, latest, None, set(closed_wait_set(links, latest)))
    return any(True for name in view.idle for _ in view.full_lanes(name))


def find_deadlock(links: EdgeIndex, before: Snapshot, latest: Snapshot) -> Deadlock | None:
    """The deadlock that two consecutive snapshots prove; None if they prove none.

    A closed set of waits without a full lane is no artificial deadlock. Growing a lane does not resolve it, so None is returned.
    """
    components = closed_wait_set(links, latest, before)
    view = _View(links, latest, before, set(components))
    lanes = [lane for name in components for lane in view.full_lanes(name)]
    if not lanes:
        return None
    cycles = {lane.id: view.shortest_chain(lane.consumer, lane.producer) for lane in lanes}
    lanes = [lane for lane in lanes if cycles[lane.id] is not None] or lanes
    order = {name: number for number, name in enumerate(links.by_id)}
    lane = min(lanes, key=lambda lane: (latest.consumers[lane.id].share, order[lane.id]))
    end = latest.consumers[lane.id]
    return Deadlock(
        components=components,
        lane=lane.id,
        limit_items=_doubled(end.limit_items, snapshot.MAX_LIMIT_ITEMS) if end.full_items else end.limit_items,
        limit_bytes=_doubled(end.limit_bytes, snapshot.MAX_LIMIT_BYTES) if end.full_bytes else end.limit_bytes,
        cycle=", ".join([view.waits_for_capacity(lane), *(cycles[lane.id] or ())]),
        at_ceiling=end.share >= 1,
    )


def _unmoved(before: ActorState | None, now: ActorState) -> bool:
    return before is not None and before.version == now.version and bool(before.waits)


def _doubled(limit: int, ceiling: int) -> int:
    return max(limit, min(2 * limit, ceiling))


class _View:
    """One or two snapshots, evaluated for a shrinking set of idle actors."""

    def __init__(self, links: EdgeIndex, latest: Snapshot, before: Snapshot | None, idle: set[str]) -> None:
        self._links = links
        self._latest = latest
        self._before = before
        self.idle = idle

    def may_end(self, name: str, wait: Wait) -> bool:
        """Whether an actor outside the set, or an item in transit, may end this wait."""
        if wait.full_edges:
            return not any(self._is_blocked(edge) for edge in wait.full_edges)
        if wait.any_inputs:
            return any(self._wakes(link) for port in wait.any_inputs for link in self._links.into(name, port))
        return all(self._may_come(name, port) for port in wait.all_inputs)

    def _may_come(self, name: str, port: str) -> bool:
        live = [link for link in self._links.into(name, port) if not self._ended_before(link)]
        return not live or any(self._wakes(link) for link in live)

    def _ended(self, link: Link) -> bool:
        end = self._latest.consumers.get(link.id)
        return end is not None and end.ended

    def _ended_before(self, link: Link) -> bool:
        """Whether the edge had ended before the first snapshot, so that its end has already woken its consumer."""
        before = self._before.consumers.get(link.id) if self._before is not None else None
        return self._ended(link) and (self._before is None or (before is not None and before.ended))

    def _wakes(self, link: Link) -> bool:
        """Whether an item or an end may arrive on this edge."""
        if self._ended_before(link):
            return False
        if self._ended(link) or link.producer not in self.idle or not self._is_quiet(link.id):
            return True
        offered = any(link.id in wait.full_edges for wait in self._latest.actors[link.producer].waits)
        return offered and not self._is_blocked(link.id)  # the edge has capacity for the item that its producer holds

    def _is_blocked(self, edge: str) -> bool:
        """Whether this edge is full and its consumer is in the set, so that it takes nothing."""
        link = self._links.by_id.get(edge)
        if link is None or link.consumer not in self.idle or self._ended(link):
            return False
        if self._before is None:
            return True
        end = self._latest.consumers.get(edge)
        return end is not None and (end.full_items or end.full_bytes) and self._is_quiet(edge)

    def _is_quiet(self, edge: str) -> bool:
        """Whether nothing was in transit on this edge between the snapshots: no item, no end, no credit, no growth."""
        if self._before is None:
            return True
        ends = [
            (seen.producers.get(edge), seen.consumers.get(edge)) for seen in (self._before, self._latest)
        ]  # a missing report proves nothing
        (sent_before, arrived_before), (sent, arrived) = ends
        if sent is None or arrived is None or (sent_before, arrived_before) != (sent, arrived):
            return False
        if sent.limit_items != arrived.limit_items:
            return False
        if arrived.full_bytes:  # the receiver reads nothing, so items and an end in transit remain there
            return True
        return sent.items == arrived.items and sent.ended == arrived.ended

    def full_lanes(self, name: str) -> Iterator[Link]:
        """The lanes within the set on which an actor waits for capacity."""
        for wait in self._latest.actors[name].waits:
            for edge in wait.full_edges:
                if self._is_blocked(edge):
                    yield self._links.by_id[edge]

    def shortest_chain(self, start: str, goal: str) -> list[str] | None:
        """The shortest chain of waits, in words, from one actor of the set to another; None if there is none."""
        previous: dict[str, tuple[str, str]] = {}
        queue = deque([start])
        while queue:
            name = queue.popleft()
            if name == goal:
                words: list[str] = []
                while name != start:
                    name, text = previous[name]
                    words.append(text)
                return words[::-1]
            for other, text in self._awaited(name):
                if other not in previous and other != start:
                    previous[other] = (name, text)
                    queue.append(other)
        return None

    def _awaited(self, name: str) -> Iterator[tuple[str, str]]:
        for lane in self.full_lanes(name):
            yield lane.consumer, self.waits_for_capacity(lane)
        for wait in self._latest.actors[name].waits:
            for port in (*wait.any_inputs, *wait.all_inputs):
                for link in self._links.into(name, port):
                    if link.producer in self.idle and not self._ended(link):
                        yield link.producer, snapshot.waits_for_input(self._links, link)

    def waits_for_capacity(self, lane: Link) -> str:
        """The wait of the producer of a full lane, in words."""
        return snapshot.waits_for_capacity(lane, self._latest.consumers.get(lane.id))
