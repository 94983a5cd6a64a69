"""What a run's actors and edges were doing at one time, as the node servers report it, and who waits for whom in words. Pure."""

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
    """An edge of the run, as far as waiting goes."""

    id: str
    producer: str
    consumer: str
    input: str
    """The consumer's port."""


@dataclass(frozen=True, slots=True)
class ActorState:
    """What an actor that has not ended was doing."""

    version: int
    """Another number means that it has moved."""
    waits: tuple[Wait, ...] = ()
    """Everything that it waits for within the run, any of which lets it go on; empty: it may move by itself."""
    outside: str = ""
    """What it waits for outside the run, in words, if that is known."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What one end of an edge knew."""

    items: int = 0
    """Items sent, or arrived."""
    taken: int = 0
    """Items that the consumer's node has taken, as far as this end knows."""
    limit_items: int = 1
    held_bytes: int = 0
    """Bytes that wait at this end."""
    limit_bytes: int = 1
    ended: bool = False
    """Ended or stopped."""

    @property
    def full_items(self) -> bool:
        """Its limit in items is reached."""
        return self.items - self.taken >= self.limit_items

    @property
    def full_bytes(self) -> bool:
        """Its limit in bytes is reached."""
        return self.held_bytes >= self.limit_bytes

    @property
    def share(self) -> float:
        """How large the limit that is reached is, measured by the most that it may grow to; the larger share if both are."""
        items = self.limit_items / MAX_LIMIT_ITEMS if self.full_items else 0.0
        return max(items, self.limit_bytes / MAX_LIMIT_BYTES if self.full_bytes else 0.0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What every actor and every end of an edge said, each at a moment of its own between the question and the last answer."""

    actors: Mapping[str, ActorState]
    """By component. One that has ended, or whose server did not answer, is missing."""
    producers: Mapping[str, EndpointState]
    """Producer ends, by edge."""
    consumers: Mapping[str, EndpointState]
    """Consumer ends, by edge."""

    @classmethod
    def of(cls, answers: Iterable[node_pb2.Probed]) -> Snapshot:
        """The answers of all servers, put together."""
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
        """`lists` are the inputs, as component and port, that collect all their items."""
        self.by_id = {link.id: link for link in links}
        self.lists = frozenset(lists)
        self._into: dict[tuple[str, str], list[Link]] = {}
        for link in self.by_id.values():
            self._into.setdefault((link.consumer, link.input), []).append(link)

    def into(self, component: str, port: str) -> Sequence[Link]:
        """The edges into an input."""
        return self._into.get((component, port), ())


def links_of(graph: Graph) -> EdgeIndex:
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
    """In words: the producer of an edge waits for capacity on it. `end` is the consumer's, if that is known."""
    fill = ""
    if end is not None and end.full_bytes and not end.full_items:
        fill = f" ({end.held_bytes:,} of {end.limit_bytes:,} bytes)"
    elif end is not None:
        fill = f" ({end.items - end.taken:,} of {end.limit_items:,} items)"
    return f"{link.producer} waits for capacity on {link.id}{fill}"


def waits_for_input(links: EdgeIndex, link: Link) -> str:
    """In words: the consumer of an edge waits for what comes by it."""
    if (link.consumer, link.input) in links.lists:
        return f'{link.consumer} waits for the end of its input "{link.input}" from {link.producer}'
    return f'{link.consumer} waits for an item at "{link.input}" from {link.producer}'


def who_waits(links: EdgeIndex, look: Snapshot, *, source: str | None = None) -> Mapping[str, str]:
    """By edge: who waits there for whom, and what that one is doing.

    Only edges whose end the others wait for is not waiting within the run itself are in it: everybody else waits, in the end, for
    one of these. `source` is the component that the client feeds.
    """
    found: dict[str, str] = {}
    for link in links.by_id.values():
        end = look.consumers.get(link.id)
        if end is None or end.ended:
            continue
        if waits_for(look, link.consumer, link, room=False) and not _idle(look, link.producer):
            found[link.id] = f"{waits_for_input(links, link)}, which {_doing(look, link.producer, source)}"
        elif not _idle(look, link.consumer):
            doing = _doing(look, link.consumer, None)
            if waits_for(look, link.producer, link, room=True):
                found[link.id] = f"{waits_for_capacity(link, end)}; {link.consumer} {doing}"
            elif end.items > end.taken:
                waiting = end.items - end.taken
                items = f"{waiting:,} items wait" if waiting > 1 else "1 item waits"
                found[link.id] = f"{items} for {link.consumer}, which {doing}"
    return found


def waits_for(look: Snapshot, component: str, link: Link, *, room: bool) -> bool:
    """Whether an idle component waits for capacity on an edge, or for what comes by it."""
    actor = look.actors.get(component)
    if actor is None:
        return False
    if room:
        return any(link.id in wait.full_edges for wait in actor.waits)
    return any(link.input in (*wait.any_inputs, *wait.all_inputs) for wait in actor.waits)


def _idle(look: Snapshot, component: str) -> bool:
    actor = look.actors.get(component)
    return actor is not None and bool(actor.waits)


def _doing(look: Snapshot, component: str, source: str | None) -> str:
    actor = look.actors.get(component)
    if actor is None:
        return "does not report its state: it is ending, or its server does not answer"
    if actor.outside:
        return f"waits for {actor.outside}"
    if component == source:
        return "waits for the client, or is busy"
    return "is busy, or waits for something outside the run"
