"""What the actors of a run are doing on this host, for an orchestrator that asks; and when it is time to ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.sender import LaneSender
from lanemesh.node.waits import Wait, Waits
from lanemesh.v1 import node_pb2

BLOCKED_SECONDS = 0.2
"""How long an actor waits for room before the orchestrator is told."""
MOST_SECONDS = 2.0
"""Longest pause before it is told again that an actor still waits; the pause doubles up to this."""


def probed(
    number: int,
    actors: Mapping[str, Waits],
    senders: Iterable[LaneSender],
    edges: Iterable[Edge],
) -> node_pb2.Probed:
    """The answer to a probe: what all of them are doing right now. `actors` are those that have not ended."""
    answer = node_pb2.Probed(id=number)
    for component, waits in actors.items():
        answer.actors.append(
            node_pb2.ActorReport(
                component=component,
                version=waits.version,
                waits=[_wait(wait) for wait in waits.idle_waits()],
                outside=", ".join(dict.fromkeys(waits.outside)),
            )
        )
    for sender in senders:
        told = sender.statistics()
        answer.edges.append(
            node_pb2.EdgeReport(
                edge_id=sender.edge_id,
                producer_end=True,
                items=told.sent,
                taken_items=told.taken,
                limit_items=told.limit_items,
                held_bytes=told.held_bytes,
                limit_bytes=told.limit_bytes,
                ended=told.ended,
            )
        )
    for edge in edges:
        answer.edges.append(
            node_pb2.EdgeReport(
                edge_id=edge.id,
                items=edge.arrived - edge.base,
                taken_items=max(0, edge.taken - edge.base),
                limit_items=edge.limit_items,
                held_bytes=edge.buffered_bytes,
                limit_bytes=edge.limit_bytes,
                ended=edge.ended or edge.stopped,
            )
        )
    return answer


def _wait(wait: Wait) -> node_pb2.ActorWait:
    return node_pb2.ActorWait(full_edges=wait.full_edges, any_inputs=wait.any_inputs, all_inputs=wait.all_inputs)


class BlockedEmitWatch:
    """Tells when an actor has been waiting for room for 200 ms, and again, with growing pauses, while it still does.

    It has a timer only while somebody waits for room.
    """

    def __init__(self, tell: Callable[[str], bool]) -> None:
        """`tell` is given the component, and says whether it could be told now."""
        self._tell = tell
        self._actors: dict[str, Waits] = {}
        self._told: dict[str, tuple[float, float]] = {}
        """Since when the actor was waiting when it was told of last, and when it shall be told of again."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def add(self, component: str, waits: Waits) -> None:
        """Watches an actor."""
        self._actors[component] = waits
        waits.on_blocked = self._on_blocked

    def close(self) -> None:
        """Watches no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waits in self._actors.values():
            waits.on_blocked = None

    def _on_blocked(self) -> None:
        due = time.monotonic() + BLOCKED_SECONDS
        if self._timer is None or self._timer.when() > due:
            self._look_at(due)

    def _look_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if self._closed else asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        dues = [self._due(component, waits, now) for component, waits in self._actors.items() if waits.blocked]
        if dues:
            self._look_at(max(min(dues), now + BLOCKED_SECONDS / 4))

    def _due(self, component: str, waits: Waits, now: float) -> float:
        """When to look at a waiting actor again; tells of it now if it is time."""
        since, due = self._told.get(component, (0.0, 0.0))
        if since != waits.blocked_since:
            since, due = waits.blocked_since, waits.blocked_since + BLOCKED_SECONDS
        if now >= due:
            told = not waits.idle_waits() or self._tell(component)  # a busy one will go on, or wait for something else
            due = now + (min(max(now - since, BLOCKED_SECONDS), MOST_SECONDS) if told else BLOCKED_SECONDS)
        self._told[component] = (since, due)
        return due
