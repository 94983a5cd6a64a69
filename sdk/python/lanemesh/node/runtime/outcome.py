"""How a component ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lanemesh.faults import Fault


class State(Enum):
    """The states of an actor."""

    STARTING = "starting"
    RUNNING = "running"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an actor ended."""

    state: State
    firings: int
    fault: Fault | None = None
    detail: str = ""
    error: Exception | None = None
    """What the node raised, where that was an exception."""
    skipped: int = 0
    """Firings that failed and were dropped."""
    retried: int = 0
    """Further attempts at firings that failed."""
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How long it waited, was busy, and was blocked by full lanes."""
