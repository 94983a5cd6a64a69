"""What a call of a function gives: any number of progress reports, then its result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Yielded by a generator function: how far the call is."""

    message: str
    """What it is doing, in words."""
    fraction: float | None = None
    """How much is done, from 0 to 1; None if unknown."""


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a call."""

    content: str
    """What the function returned: JSON, as text."""
