"""How many runs are above those that a program starts, so that a pipeline that starts itself by any way ends."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

RUN_DEPTH: ContextVar[int] = ContextVar("RUN_DEPTH", default=0)
"""How many runs are above those that the current task starts: above 0 in the code of a node that starts runs."""
DEPTH_KEY = "lanemesh-depth"
"""Metadata key of a call that starts a run: how many runs are above that run; missing: none."""
_DIGITS = 9


def depth_metadata(depth: int | None = None) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that starts a run below others; empty if there are none. None: the depth of the current task."""
    depth = RUN_DEPTH.get() if depth is None else depth
    return ((DEPTH_KEY, str(depth)),) if depth else ()


def depth_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> int:
    """The depth that a call's metadata name: the largest, if there are several; 0 if there is no valid one."""
    found = [value for key, value in metadata or () if key == DEPTH_KEY and isinstance(value, str)]
    return max((int(one) for one in found if one.isascii() and one.isdecimal() and len(one) <= _DIGITS), default=0)
