"""The trace that a run belongs to: `traceparent` of W3C Trace Context (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TRACEPARENT_KEY = "traceparent"
"""Metadata key of a gRPC call."""

_FIELDS = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]*)?")
_MAX_LENGTH = 512
"""Longest value that is passed on; later versions may append fields."""


def is_traceparent(text: str) -> bool:
    """Whether a text is a valid `traceparent`: version, trace id, parent id and flags; version 00 has nothing behind them."""
    if len(text) > _MAX_LENGTH:
        return False
    found = _FIELDS.fullmatch(text)
    return found is not None and (found[1] != "00" or found[2] is None)


def fresh_traceparent() -> str:
    """The `traceparent` of a new trace that is not sampled."""
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    if not (int(trace_id, 16) and int(parent_id, 16)):
        return fresh_traceparent()
    return f"00-{trace_id}-{parent_id}-00"


def traceparent_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The `traceparent` of a call's metadata; of a new trace if there is none, more than one or an invalid one, as W3C demands."""
    found = [value for key, value in metadata or () if key == TRACEPARENT_KEY]
    if len(found) == 1 and isinstance(found[0], str) and is_traceparent(found[0]):
        return found[0]
    return fresh_traceparent()


_CALLERS: ContextVar[str] = ContextVar("lanemesh-traceparent", default="")


@contextmanager
def in_trace(traceparent: str) -> Iterator[None]:
    """Runs that clients start in this block belong to a trace. An invalid `traceparent` has no effect, as W3C demands."""
    token = _CALLERS.set(traceparent if is_traceparent(traceparent) else "")
    try:
        yield
    finally:
        _CALLERS.reset(token)


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """The metadata of a call that belongs to the trace of its caller; empty if that has none."""
    traceparent = _CALLERS.get()
    return ((TRACEPARENT_KEY, traceparent),) if traceparent else ()
