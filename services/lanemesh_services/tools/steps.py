"""The events of a call: any number of progress reports, then the result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Yielded by a generator function: the progress of the call."""

    message: str
    """Current activity, in words."""
    fraction: float | None = None
    """Completed fraction, from 0 to 1; None if unknown."""


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a call."""

    content: str
    """The return value: JSON, as text."""
