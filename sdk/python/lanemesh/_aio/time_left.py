"""How much time is left for what is being done: of the run, of a component's firing, of a call that a helper serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MARGIN_SECONDS = 0.25
"""How much later than its caller's own deadline that of a call is, so that the caller's own error is the one that is told."""

Ends = Callable[[], float | None]
"""When a time limit ends, by the monotonic clock, which is that of event loops; None while it does not run."""

_limits: ContextVar[tuple[Ends, ...]] = ContextVar("lanemesh_limits", default=())


@contextmanager
def within(ends: Ends) -> Iterator[None]:
    """What is done in here, by tasks begun in here too, is under a further time limit."""
    token = _limits.set((*_limits.get(), ends))
    try:
        yield
    finally:
        _limits.reset(token)


def within_seconds(seconds: float | None) -> Ends:
    """A time limit that begins now; None: none."""
    if seconds is None:
        return lambda: None
    end = time.monotonic() + seconds
    return lambda: end


def time_left() -> float | None:
    """Seconds until the first of all time limits ends, 0 if it has; None if there is none."""
    ends = [end for limit in _limits.get() if (end := limit()) is not None]
    return max(0.0, min(ends) - time.monotonic()) if ends else None


def call_seconds(otherwise: float | None) -> float | None:
    """The deadline of a call in seconds: what is left, or what the call may take otherwise if that is less."""
    left = time_left()
    if left is None:
        return otherwise
    left += MARGIN_SECONDS
    return left if otherwise is None else min(left, otherwise)
