"""The state of a run's actors and edges at one time, as node servers report it, and descriptions of its waits. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lanemesh.node.waits import Wait
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from lanemesh_orchestrator.pipeline import Graph

MAX_LIMIT_ITEMS = 1_000_000
"""Most items that a lane is grown to."""
MAX_LIMIT_BYTES = 64 * 1024 * 1024
"""Most bytes that a lane is grown to: 64 MiB."""


@dataclass(frozen=True, slots=True)
class Link:
    """An edge of the run, reduced to the fields that the detector needs."""

    id: str
    producer: str
    consumer: str
    input: str
    """The consumer's port."""


@dataclass(frozen=True, slots=True)
class ActorState:
    """The state of an actor that has not ended."""

    version: int
    """Changes whenever the actor makes progress."""
    waits: tuple[Wait, ...] = ()
    """Its waits within the run; the end of any of them wakes it. Empty: it may proceed by itself."""
    outside: str = ""
    """Its wait outside the run, in words; empty: not known."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """The state of one end of an edge."""

    items: int = 0
    """Items sent by a producer end, or arrived at a consumer end."""
    taken: int = 0
    """Items that the consumer's node has taken, as far as this end knows."""
    limit_items: int = 1
    held_bytes: int = 0
    """Bytes buffered at this end."""
    limit_bytes: int = 1
    ended: bool = False
    """Whether the edge has ended or was stopped."""

    @property
    def full_items(self) -> bool:
        """Whether its limit in items is reached."""
        return self.items - self.taken >= self.limit_items

    @property
    def full_bytes(self) -> bool:
        """Whether its limit in bytes is reached."""
        return self.held_bytes >= self.limit_bytes

    @property
    def share(self) -> float:
        """The reached limit as a share of the largest limit that an edge can have; the larger share if both limits are reached."""
        items = self.limit_items / MAX_LIMIT_ITEMS if self.full_items else 0.0
        return max(items, self.limit_bytes / MAX_LIMIT_BYTES if self.full_bytes else 0.0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The states of all actors and edge ends. Each was taken at its own time between the probe and the last answer."""

    actors: Mapping[str, ActorState]
    """By component. One that has ended, or whose server did not answer, is missing."""
    producers: Mapping[str, EndpointState]
    """Producer ends, by edge."""
    consumers: Mapping[str, EndpointState]
    """Consumer ends, by edge."""

    @classmethod
    def of(cls, answers: Iterable[node_pb2.Probed]) -> Snapshot:
        """Merges the answers of all servers."""
        actors: dict[str, ActorState] = {}
        ends: tuple[dict[str, EndpointState], dict[str, EndpointState]] = ({}, {})
        for answer in answers:
            for actor in answer.actors:
                waits = tuple(
                    Wait(tuple(wait.full_edges), tuple(wait.any_inputs), tuple(wait.all_inputs)) for wait in actor.waits
                )
                actors[actor.component] = ActorState(actor.version, waits, actor.outside)
            for edge in answer.edges:
                ends[edge.producer_end][edge.edge_id] = EndpointState(
                    items=edge.items,
                    taken=edge.taken_items,
                    limit_items=edge.limit_items,
                    held_bytes=edge.held_bytes,
                    limit_bytes=edge.limit_bytes,
                    ended=edge.ended,
                )
        return cls(actors, producers=ends[True], consumers=ends[False])


class EdgeIndex:
    """The edges of a run, as the detector looks them up."""

    def __init__(self, links: Iterable[Link], lists: Iterable[tuple[str, str]] = ()) -> None:
        """`lists` are the inputs, as pairs of component and port, that collect all of their items."""
        self.by_id = {link.id: link for link in links}
        self.lists = frozenset(lists)
        self._into: dict[tuple[str, str], list[Link]] = {}
        for link in self.by_id.values():
            self._into.setdefault((link.consumer, link.input), []).append(link)

    def into(self, component: str, port: str) -> Sequence[Link]:
        """The edges into an input."""
        return self._into.get((component, port), ())


def edge_index(graph: Graph) -> EdgeIndex:
    """The edges of a graph, for the detector."""
    lists = {
        (component.id, port.name)
        for component in graph.components.values()
        for port in component.manifest.inputs
        if port.list
    }
    return EdgeIndex(
        (Link(edge.id, edge.producer, edge.consumer, edge.input) for edge in graph.edges),
        {
            (edge.consumer, edge.input)
            for edge in graph.edges
            if (edge.consumer, edge.input_port or edge.input) in lists
        },
    )


def waits_for_capacity(link: Link, end: EndpointState | None) -> str:
    """Describes that the producer of an edge waits for capacity. `end` is the state of the consumer end, if it is known."""
    fill = ""
    if end is not None and end.full_bytes and not end.full_items:
        fill = f" ({end.held_bytes:,} of {end.limit_bytes:,} bytes)"
    elif end is not None:
        fill = f" ({end.items - end.taken:,} of {end.limit_items:,} items)"
    return f"{link.producer} waits for capacity on {link.id}{fill}"


def waits_for_input(links: EdgeIndex, link: Link) -> str:
    """Describes that the consumer of an edge waits for an item or for the end of its input."""
    if (link.consumer, link.input) in links.lists:
        return f'{link.consumer} waits for the end of its input "{link.input}" from {link.producer}'
    return f'{link.consumer} waits for an item at "{link.input}" from {link.producer}'


def root_waits(links: EdgeIndex, snapshot: Snapshot, *, source: str | None = None) -> Mapping[str, str]:
    """The root waits of a run: for each edge, a description of the waiting actor and of the actor that it waits for.

    Contains only edges on which the awaited actor does not itself wait within the run. All other waits depend on these. `source`
    is the component that the client feeds.
    """
    found: dict[str, str] = {}
    for link in links.by_id.values():
        end = snapshot.consumers.get(link.id)
        if end is None or end.ended:
            continue
        if waits_for(snapshot, link.consumer, link, capacity=False) and not _idle(snapshot, link.producer):
            found[link.id] = f"{waits_for_input(links, link)}, which {_doing(snapshot, link.producer, source)}"
        elif not _idle(snapshot, link.consumer):
            doing = _doing(snapshot, link.consumer, None)
            if waits_for(snapshot, link.producer, link, capacity=True):
                found[link.id] = f"{waits_for_capacity(link, end)}; {link.consumer} {doing}"
            elif end.items > end.taken:
                waiting = end.items - end.taken
                items = f"{waiting:,} items wait" if waiting > 1 else "1 item waits"
                found[link.id] = f"{items} for {link.consumer}, which {doing}"
    return found


def waits_for(snapshot: Snapshot, component: str, link: Link, *, capacity: bool) -> bool:
    """Whether a component waits on an edge: for capacity, or for an item or the end of its input."""
    actor = snapshot.actors.get(component)
    if actor is None:
        return False
    if capacity:
        return any(link.id in wait.full_edges for wait in actor.waits)
    return any(link.input in (*wait.any_inputs, *wait.all_inputs) for wait in actor.waits)


def _idle(snapshot: Snapshot, component: str) -> bool:
    actor = snapshot.actors.get(component)
    return actor is not None and bool(actor.waits)


def _doing(snapshot: Snapshot, component: str, source: str | None) -> str:
    actor = snapshot.actors.get(component)
    if actor is None:
        return "does not report its state: it is ending, or its server does not answer"
    if actor.outside:
        return f"waits for {actor.outside}"
    if component == source:
        return "waits for the client, or is busy"
    return "is busy, or waits for something outside the run"
