"""Counts of a run that go on although a component was placed again, whose new server counts from 0. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.pipeline import Edge


@dataclass(slots=True)
class _Taken:
    """Of one edge."""

    sent: int = 0
    """What was told last."""
    consumed: int = 0
    origin: int = 0
    """How many items there had been when its present producer began to count."""
    before: int = 0
    """How many of them its present consumer knows nothing of."""


@dataclass(slots=True)
class _Fired:
    """The same of a component's firings (all, skipped, tried again) and of its times (waiting, busy, blocked; in nanoseconds)."""

    latest: tuple[int, ...] = (0,) * 6
    before: tuple[int, ...] = (0,) * 6


class CounterOffsets:
    """Adds to what is told of edges and nodes what was told before they were placed again, so that no count goes backwards.

    A consumer that is placed again is told by its producer how many items were processed before, so that one which comes twice
    counts once. Firings of which a lost server had not told yet are not counted.
    """

    def __init__(self, edges: Sequence[Edge]) -> None:
        self._edges = {edge.id: _Taken() for edge in edges}
        self._ends = {edge.id: (edge.producer, edge.consumer) for edge in edges}
        self._nodes: dict[str, _Fired] = {}

    def apply(self, update: update_pb2.Update) -> None:
        """Completes an update of an edge or a node, and remembers it."""
        match update.WhichOneof("kind"):
            case "edge" if (taken := self._edges.get(update.edge.edge_id)) is not None:
                edge = update.edge
                edge.sent = taken.sent = max(taken.sent, taken.before + edge.sent)
                edge.consumed = taken.consumed = max(taken.consumed, taken.before + edge.consumed)
            case "node":
                node = update.node
                fired = self._nodes.setdefault(node.component, _Fired())
                times = (node.waiting, node.busy, node.blocked)
                counts = node.firings, node.skipped_firings, node.retried_firings, *(t.ToNanoseconds() for t in times)
                told = tuple(map(sum, zip(fired.before, counts, strict=True)))
                fired.latest = max(fired.latest, told)
                node.firings, node.skipped_firings, node.retried_firings = told[:3]
                for time, nanoseconds in zip(times, told[3:], strict=True):
                    if nanoseconds:
                        time.FromNanoseconds(nanoseconds)

    def placed_again(self, components: Collection[str]) -> None:
        """These components count from 0 now."""
        for edge_id, taken in self._edges.items():
            producer, consumer = (end in components for end in self._ends[edge_id])
            if producer:
                taken.origin = taken.consumed if consumer else taken.sent
            if consumer:
                taken.before = taken.origin
        for component in components:
            fired = self._nodes.setdefault(component, _Fired())
            fired.before = fired.latest
