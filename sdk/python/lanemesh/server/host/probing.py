"""Snapshots of a run's actors on this host for the orchestrator, and notifications when a snapshot is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.sender import LaneSender
from lanemesh.node.waits import Wait, Waits
from lanemesh.v1 import node_pb2

BLOCKED_SECONDS = 0.2
"""How long an actor waits for capacity before the orchestrator is notified."""
MOST_SECONDS = 2.0
"""Longest pause before the next notification about an actor that still waits; the pause doubles up to this."""


def probed(
    number: int,
    actors: Mapping[str, Waits],
    senders: Iterable[LaneSender],
    edges: Iterable[Edge],
) -> node_pb2.Probed:
    """The answer to a probe: the current activity of all actors. `actors` are those that have not ended."""
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
        statistics = sender.statistics()
        answer.edges.append(
            node_pb2.EdgeReport(
                edge_id=sender.edge_id,
                producer_end=True,
                items=statistics.sent,
                taken_items=statistics.taken,
                limit_items=statistics.limit_items,
                held_bytes=statistics.held_bytes,
                limit_bytes=statistics.limit_bytes,
                ended=statistics.ended,
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
    """Notifies when an actor has waited for capacity for 200 ms, and again, with growing pauses, while it still does.

    It has a timer only while an actor waits for capacity.
    """

    def __init__(self, notify: Callable[[str], bool]) -> None:
        """`notify` gets the component, and returns whether the notification was sent."""
        self._notify = notify
        self._actors: dict[str, Waits] = {}
        self._notified: dict[str, tuple[float, float]] = {}
        """By component: the start of the wait at the last notification, and the time of the next one."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def add(self, component: str, waits: Waits) -> None:
        """Watches an actor."""
        self._actors[component] = waits
        waits.on_blocked = self._on_blocked

    def close(self) -> None:
        """Stops watching."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waits in self._actors.values():
            waits.on_blocked = None

    def _on_blocked(self) -> None:
        due = time.monotonic() + BLOCKED_SECONDS
        if self._timer is None or self._timer.when() > due:
            self._check_at(due)

    def _check_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if self._closed else asyncio.get_running_loop().call_at(due, self._check)

    def _check(self) -> None:
        self._timer = None
        now = time.monotonic()
        dues = [self._due(component, waits, now) for component, waits in self._actors.items() if waits.blocked]
        if dues:
            self._check_at(max(min(dues), now + BLOCKED_SECONDS / 4))

    def _due(self, component: str, waits: Waits, now: float) -> float:
        """The time of the next check of a waiting actor; sends a notification now if it is due."""
        since, due = self._notified.get(component, (0.0, 0.0))
        if since != waits.blocked_since:
            since, due = waits.blocked_since, waits.blocked_since + BLOCKED_SECONDS
        if now >= due:
            notified = not waits.idle_waits() or self._notify(component)  # a busy actor is not blocked
            due = now + (min(max(now - since, BLOCKED_SECONDS), MOST_SECONDS) if notified else BLOCKED_SECONDS)
        self._notified[component] = (since, due)
        return due
