"""The time left of the run, of a component's firing, and of a call that a helper serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

MARGIN_SECONDS = 0.25
"""How much later the deadline of a call is than its caller's own, so that the caller's own error is reported."""

Ends = Callable[[], float | None]
"""When a time limit ends, by the monotonic clock, which is that of event loops; None while it does not run."""

_limits: ContextVar[tuple[Ends, ...]] = ContextVar("lanemesh_limits", default=())


@contextmanager
def within(ends: Ends) -> Iterator[None]:
    """Adds a time limit to the code inside, including tasks that it starts."""
    begun = begin_limit(ends)
    try:
        yield
    finally:
        end_limit(begun)


def begin_limit(ends: Ends) -> Token[tuple[Ends, ...]]:
    """Adds a time limit from here on, as `within` does. Its caller ends it with the result."""
    return _limits.set((*_limits.get(), ends))


def end_limit(begun: Token[tuple[Ends, ...]]) -> None:
    """Removes the time limit that `begin_limit` has added in the same task."""
    _limits.reset(begun)


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
    """The deadline of a call in seconds: the time left, or the call's own limit if that is less."""
    left = time_left()
    if left is None:
        return otherwise
    left += MARGIN_SECONDS
    return left if otherwise is None else min(left, otherwise)
