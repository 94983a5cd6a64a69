"""A run in miniature, one step at a time: actors that follow scripts, lanes with items, ends and credit under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lanemesh.node.waits import Wait
from lanemesh_orchestrator.deadlock.snapshot import ActorState, EdgeIndex, EndpointState, Link, Snapshot


@dataclass(frozen=True)
class Act:
    """One step of an actor's script."""

    kind: str
    """ "emit" into all edges, take from "any" or from "all" of the ports, or be "outside" for a while."""
    names: tuple[str, ...] = ()
    """Edges, or ports."""


@dataclass
class Lane:
    """One lane and what is under way on it."""

    link: Link
    limit: int
    sent: int = 0
    known_taken: int = 0
    """Taken, as the producer knows it."""
    ended_by_producer: bool = False
    stopped_by_consumer: bool = False
    stop_known: bool = False
    """The producer knows of the stop."""
    under_way: int = 0
    end_under_way: bool = False
    arrived: int = 0
    taken: int = 0
    ended: bool = False


@dataclass
class Actor:
    """An actor, at some place of its script."""

    script: deque[Act]
    version: int = 0
    wait: Wait | None = None
    pending: set[str] = field(default_factory=set)
    """Edges that its current `emit` has not got the item into yet."""


class Model:
    """The run."""

    def __init__(self, scripts: Mapping[str, Sequence[Act]], links: Sequence[Link], limits: Mapping[str, int]) -> None:
        self.actors = {name: Actor(deque(script)) for name, script in scripts.items()}
        self.lanes = {link.id: Lane(link, limits[link.id]) for link in links}
        self.links = EdgeIndex(links)

    def steps(self) -> list[Callable[[], None]]:
        """Everything that may happen next."""
        found: list[Callable[[], None]] = []
        for name, actor in self.actors.items():
            if self._can_move(name, actor):
                found.append(lambda name=name: self._move(name))  # type: ignore[misc]
        for lane in self.lanes.values():
            if lane.under_way:
                found.append(lambda lane=lane: self._deliver(lane))  # type: ignore[misc]
            elif lane.end_under_way:
                found.append(lambda lane=lane: self._deliver_end(lane))  # type: ignore[misc]
            if lane.stopped_by_consumer and not lane.stop_known:
                found.append(lambda lane=lane: self._stop(lane))  # type: ignore[misc]
            if lane.known_taken < lane.taken:
                found.append(lambda lane=lane: self._credit(lane))  # type: ignore[misc]
        return found

    def turn(self) -> None:
        """Everybody who is ready moves once, as in a turn of an event loop."""
        for name, actor in self.actors.items():
            if self._can_move(name, actor):
                self._move(name)

    def actor_state(self, name: str) -> ActorState | None:
        """What the actor would report now; None if it has ended."""
        actor = self.actors[name]
        if not actor.script:
            return None
        return ActorState(actor.version, (actor.wait,) if actor.wait is not None else ())

    def producer_end(self, edge: str) -> EndpointState:
        """What the producer's end would report now."""
        lane = self.lanes[edge]
        return EndpointState(lane.sent, lane.known_taken, lane.limit, 0, 1, lane.ended_by_producer or lane.stop_known)

    def consumer_end(self, edge: str) -> EndpointState:
        """What the consumer's end would report now."""
        lane = self.lanes[edge]
        return EndpointState(lane.arrived, lane.taken, lane.limit, 0, 1, lane.ended or lane.stopped_by_consumer)

    def look(self) -> Snapshot:
        """What all of them would report at this one moment."""
        states = {name: self.actor_state(name) for name in self.actors}
        return Snapshot(
            {name: state for name, state in states.items() if state is not None},
            {edge: self.producer_end(edge) for edge in self.lanes},
            {edge: self.consumer_end(edge) for edge in self.lanes},
        )

    def _can_move(self, name: str, actor: Actor) -> bool:
        if not actor.script:
            return False
        if (
            actor.wait is not None and actor.wait.all_inputs
        ):  # each that comes wakes it, and it goes on to wait for the rest
            return any(self._ready(name, port) for port in actor.wait.all_inputs)
        return actor.wait is None or self._wakes(name, actor)

    def _wakes(self, name: str, actor: Actor) -> bool:
        act = actor.script[0]
        if act.kind == "emit":
            return any(self._has_capacity(edge) for edge in actor.pending)
        if act.kind == "any":
            return any(self._ready(name, port) for port in act.names)
        return all(self._ready(name, port) for port in act.names)

    def _has_capacity(self, edge: str) -> bool:
        lane = self.lanes[edge]
        return lane.sent - lane.known_taken < lane.limit or lane.stop_known

    def _into(self, name: str, port: str) -> list[Lane]:
        return [self.lanes[link.id] for link in self.links.into(name, port)]

    def _ready(self, name: str, port: str) -> bool:
        lanes = self._into(name, port)
        return any(lane.arrived > lane.taken for lane in lanes) or all(lane.ended for lane in lanes)

    def _move(self, name: str) -> None:
        actor = self.actors[name]
        actor.version += 1
        actor.wait = None
        act = actor.script[0]
        if act.kind == "emit":
            if not actor.pending:
                actor.pending = set(act.names)
            for edge in sorted(actor.pending):
                if self._has_capacity(edge):
                    if not self.lanes[edge].stop_known:
                        self.lanes[edge].sent += 1
                        self.lanes[edge].under_way += 1
                    actor.pending.discard(edge)
            if actor.pending:
                actor.wait = Wait(full_edges=tuple(sorted(actor.pending)))
                return
        elif act.kind in ("any", "all") and not self._wakes(name, actor):
            ports = tuple(port for port in act.names if not self._ready(name, port))
            actor.wait = Wait(any_inputs=ports) if act.kind == "any" else Wait(all_inputs=ports)
            return
        elif act.kind in ("any", "all"):
            ready = [port for port in act.names if self._ready(name, port)]
            for port in ready[:1] if act.kind == "any" else ready:
                for lane in self._into(name, port):
                    if lane.arrived > lane.taken:
                        lane.taken += 1
                        break
        actor.script.popleft()
        if not actor.script:
            for lane in self.lanes.values():
                if lane.link.producer == name:
                    lane.ended_by_producer = lane.end_under_way = True
                if lane.link.consumer == name:
                    lane.stopped_by_consumer = True

    def _deliver(self, lane: Lane) -> None:
        lane.under_way -= 1
        lane.arrived += 1

    def _deliver_end(self, lane: Lane) -> None:
        lane.end_under_way = False
        lane.ended = True

    def _stop(self, lane: Lane) -> None:
        lane.stop_known = True

    def _credit(self, lane: Lane) -> None:
        lane.known_taken = lane.taken


def grown(look: Snapshot, edge: str, limit_items: int) -> Snapshot:
    """The same look with another limit at the consumer's end of an edge."""
    return replace(look, consumers={**look.consumers, edge: replace(look.consumers[edge], limit_items=limit_items)})
