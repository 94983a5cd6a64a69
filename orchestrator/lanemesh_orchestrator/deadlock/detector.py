"""Finds artificial deadlock (Parks, 1995): nodes that wait for one another because a bounded lane between them is full.

Pure: what the node servers reported goes in, a verdict comes out. One look proves nothing, since on a busy healthy lane both of
its ends are waiting at almost any instant; a second look at the same waits does, if nothing was under way between them.
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
    """Those that wait for one another. None of them can move before a lane between them is grown."""
    lane: str
    """The edge to grow: the smallest full one by which they wait for one another."""
    limit_items: int
    """Its new limits: whichever is reached is doubled."""
    limit_bytes: int
    cycle: str
    """Who waits for whom, in words."""
    at_ceiling: bool
    """It may not be grown any more."""


def closed_wait_set(links: EdgeIndex, look: Snapshot, before: Snapshot | None = None) -> frozenset[str]:
    """The largest set of idle actors that nobody outside it can wake.

    With an earlier look as well, each of the set has stood still since then, and nothing was under way on the edges by which they
    wait for one another: then they wait for ever, unless something outside the run ends it.
    """
    idle = {
        name
        for name, actor in look.actors.items()
        if actor.waits and (before is None or _unmoved(before.actors.get(name), actor))
    }
    view = _View(links, look, before, idle)
    while gone := [name for name in idle if any(view.may_end(name, wait) for wait in look.actors[name].waits)]:
        idle.difference_update(gone)
    return frozenset(idle)


def is_suspect(links: EdgeIndex, look: Snapshot) -> bool:
    """One look shows what may be a deadlock."""
    view = _View(links, look, None, set(closed_wait_set(links, look)))
    return any(True for name in view.idle for _ in view.full_lanes(name))


def find_deadlock(links: EdgeIndex, before: Snapshot, look: Snapshot) -> Deadlock | None:
    """The deadlock that two looks prove, one after the other; None if they prove none.

    A set without a full lane within is no artificial deadlock, and no lane can help it: then there is None as well.
    """
    components = closed_wait_set(links, look, before)
    view = _View(links, look, before, set(components))
    lanes = [lane for name in components for lane in view.full_lanes(name)]
    if not lanes:
        return None
    cycles = {lane.id: view.way(lane.consumer, lane.producer) for lane in lanes}
    lanes = [lane for lane in lanes if cycles[lane.id] is not None] or lanes
    order = {name: number for number, name in enumerate(links.by_id)}
    lane = min(lanes, key=lambda lane: (look.consumers[lane.id].share, order[lane.id]))
    end = look.consumers[lane.id]
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
    """Two looks, seen from a set of idle actors that shrinks."""

    def __init__(self, links: EdgeIndex, look: Snapshot, before: Snapshot | None, idle: set[str]) -> None:
        self._links = links
        self._look = look
        self._before = before
        self.idle = idle

    def may_end(self, name: str, wait: Wait) -> bool:
        """Somebody outside the set, or something that is under way, may end this wait."""
        if wait.full_edges:
            return not any(self._holds(edge) for edge in wait.full_edges)
        if wait.any_inputs:
            return any(self._wakes(link) for port in wait.any_inputs for link in self._links.into(name, port))
        return all(self._may_come(name, port) for port in wait.all_inputs)

    def _may_come(self, name: str, port: str) -> bool:
        live = [link for link in self._links.into(name, port) if not self._has_been_over(link)]
        return not live or any(self._wakes(link) for link in live)

    def _ended(self, link: Link) -> bool:
        end = self._look.consumers.get(link.id)
        return end is not None and end.ended

    def _has_been_over(self, link: Link) -> bool:
        """It had ended at the first look already: whoever its end was to wake has been woken."""
        before = self._before.consumers.get(link.id) if self._before is not None else None
        return self._ended(link) and (self._before is None or (before is not None and before.ended))

    def _wakes(self, link: Link) -> bool:
        """An item or an end may come by this edge."""
        if self._has_been_over(link):
            return False
        if self._ended(link) or link.producer not in self.idle or not self._settled(link.id):
            return True
        offered = any(link.id in wait.full_edges for wait in self._look.actors[link.producer].waits)
        return offered and not self._holds(link.id)  # there is room for what its producer holds

    def _holds(self, edge: str) -> bool:
        """This edge is full, and its consumer, in the set, takes nothing."""
        link = self._links.by_id.get(edge)
        if link is None or link.consumer not in self.idle or self._ended(link):
            return False
        if self._before is None:
            return True
        end = self._look.consumers.get(edge)
        return end is not None and (end.full_items or end.full_bytes) and self._settled(edge)

    def _settled(self, edge: str) -> bool:
        """Nothing was under way on this edge between the looks: no item, no end, no credit, no growth."""
        if self._before is None:
            return True
        ends = [
            (seen.producers.get(edge), seen.consumers.get(edge)) for seen in (self._before, self._look)
        ]  # what was not told may be anything
        (sent_before, arrived_before), (sent, arrived) = ends
        if sent is None or arrived is None or (sent_before, arrived_before) != (sent, arrived):
            return False
        if sent.limit_items != arrived.limit_items:
            return False
        if arrived.full_bytes:  # the receiver reads nothing: what is under way, an end too, stays so
            return True
        return sent.items == arrived.items and sent.ended == arrived.ended

    def full_lanes(self, name: str) -> Iterator[Link]:
        """The lanes to others of the set on which an actor of the set waits for room."""
        for wait in self._look.actors[name].waits:
            for edge in wait.full_edges:
                if self._holds(edge):
                    yield self._links.by_id[edge]

    def way(self, start: str, goal: str) -> list[str] | None:
        """In words, the shortest chain of waits from one actor of the set to another; None if there is none."""
        came: dict[str, tuple[str, str]] = {}
        queue = deque([start])
        while queue:
            name = queue.popleft()
            if name == goal:
                words: list[str] = []
                while name != start:
                    name, said = came[name]
                    words.append(said)
                return words[::-1]
            for other, said in self._awaited(name):
                if other not in came and other != start:
                    came[other] = (name, said)
                    queue.append(other)
        return None

    def _awaited(self, name: str) -> Iterator[tuple[str, str]]:
        for lane in self.full_lanes(name):
            yield lane.consumer, self.waits_for_capacity(lane)
        for wait in self._look.actors[name].waits:
            for port in (*wait.any_inputs, *wait.all_inputs):
                for link in self._links.into(name, port):
                    if link.producer in self.idle and not self._ended(link):
                        yield link.producer, snapshot.waits_for_input(self._links, link)

    def waits_for_capacity(self, lane: Link) -> str:
        """How the producer of a full lane waits, in words."""
        return snapshot.waits_for_capacity(lane, self._look.consumers.get(lane.id))
