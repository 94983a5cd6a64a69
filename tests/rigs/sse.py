"""Server-sent events in the bodies of responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DONE = "[DONE]"


@dataclass(frozen=True)
class Event:
    """One event."""

    name: str
    """Its `event:` field."""
    data: str
    """Its `data:` field."""

    @property
    def value(self) -> dict[str, Any]:
        """Its data as a JSON object."""
        value = json.loads(self.data)
        assert isinstance(value, dict), self.data
        return value


def events_of(body: bytes) -> tuple[list[Event], bool]:
    """The events of a body without comments, and whether it ends between two events."""
    text = body.decode()
    *blocks, rest = text.split("\n\n")
    return [event for block in blocks if (event := _event(block)) is not None], not rest


def _event(block: str) -> Event | None:
    fields = dict(_fields(block))
    return Event(fields.get("event", ""), fields["data"]) if "data" in fields else None


def _fields(block: str) -> Iterator[tuple[str, str]]:
    for line in block.split("\n"):
        if not line.startswith(":"):
            name, colon, value = line.partition(": ")
            assert colon, line
            assert name in ("event", "data", "id"), line
            yield name, value
