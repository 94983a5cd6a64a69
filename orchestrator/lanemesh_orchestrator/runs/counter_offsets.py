"""Keeps the counters of a run continuous when a component is placed again and its new server counts from 0. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.pipeline import Edge


@dataclass(slots=True)
class _EdgeCounts:
    """The counters of one edge."""

    sent: int = 0
    """Items sent, as reported last."""
    consumed: int = 0
    """Items consumed, as reported last."""
    origin: int = 0
    """Number of items before its present producer began to count."""
    before: int = 0
    """Number of these items that its present consumer does not count."""


@dataclass(slots=True)
class _NodeCounts:
    """The counters of one component: firings (all, skipped, retried) and times (waiting, busy, blocked; in nanoseconds)."""

    latest: tuple[int, ...] = (0,) * 6
    """As reported last."""
    before: tuple[int, ...] = (0,) * 6
    """Before the component was placed again."""


class CounterOffsets:
    """Adds the counts from before a component was placed again to later updates, so that no count decreases.

    A consumer that is placed again gets the number of processed items from its producer, so that replayed items count once.
    Firings that a lost server had not reported are not counted.
    """

    def __init__(self, edges: Sequence[Edge]) -> None:
        self._edges = {edge.id: _EdgeCounts() for edge in edges}
        self._ends = {edge.id: (edge.producer, edge.consumer) for edge in edges}
        self._nodes: dict[str, _NodeCounts] = {}

    def apply(self, update: update_pb2.Update) -> None:
        """Adds the offsets to an update of an edge or a node, and records its counts."""
        match update.WhichOneof("kind"):
            case "edge" if (edge_counts := self._edges.get(update.edge.edge_id)) is not None:
                edge = update.edge
                edge.sent = edge_counts.sent = max(edge_counts.sent, edge_counts.before + edge.sent)
                edge.consumed = edge_counts.consumed = max(edge_counts.consumed, edge_counts.before + edge.consumed)
            case "node":
                node = update.node
                node_counts = self._nodes.setdefault(node.component, _NodeCounts())
                times = (node.waiting, node.busy, node.blocked)
                counts = node.firings, node.skipped_firings, node.retried_firings, *(t.ToNanoseconds() for t in times)
                totals = tuple(map(sum, zip(node_counts.before, counts, strict=True)))
                node_counts.latest = max(node_counts.latest, totals)
                node.firings, node.skipped_firings, node.retried_firings = totals[:3]
                for time, nanoseconds in zip(times, totals[3:], strict=True):
                    if nanoseconds:
                        time.FromNanoseconds(nanoseconds)

    def placed_again(self, components: Collection[str]) -> None:
        """Sets the offsets of components that count from 0 again."""
        for edge_id, edge_counts in self._edges.items():
            producer, consumer = (end in components for end in self._ends[edge_id])
            if producer:
                edge_counts.origin = edge_counts.consumed if consumer else edge_counts.sent
            if consumer:
                edge_counts.before = edge_counts.origin
        for component in components:
            node_counts = self._nodes.setdefault(component, _NodeCounts())
            node_counts.before = node_counts.latest
