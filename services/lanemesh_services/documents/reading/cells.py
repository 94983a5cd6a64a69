"""Texts and values of files, as lanes carry them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from lanemesh.extend import INT_MAX, INT_MIN


def text_of(text: str) -> str:
    """A text with U+FFFD for each half of a surrogate pair without its other half, as escapes in JSON and broken fonts give."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cell_of(value: Any) -> Any:
    """A value of a file as JSON: dates and times as ISO 8601, a duration in seconds, null for NaN and infinity, and an integer
    beyond 64 bits as a text; also in lists and objects."""
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if INT_MIN <= value <= INT_MAX else str(value)
    if isinstance(value, Mapping):
        return {text_of(str(key)): cell_of(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cell_of(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return text_of(str(value))


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in more levels than these."""
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(is_deeper(inner, levels - 1) for inner in value)
