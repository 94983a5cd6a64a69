"""What a component has used beyond its helpers, from several sources that report their totals."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from lanemesh.values import Usage

MAX_SOURCES = 1_000
"""Most sources whose totals may still change. The one that reported longest ago is then taken as ended."""


class Used(NamedTuple):
    """Calls, and their tokens if they are known."""

    calls: int = 0
    usage: Usage | None = None

    def with_(self, other: Used) -> Used:
        """Both together."""
        known = [usage for usage in (self.usage, other.usage) if usage is not None]
        return Used(self.calls + other.calls, known[0] + known[1] if len(known) == 2 else known[0] if known else None)


class UsageSum:
    """Adds the totals of all sources."""

    def __init__(self) -> None:
        self._ended = Used()
        self._sources: OrderedDict[str, Used] = OrderedDict()

    def take(self, source: str, used: Used) -> Used:
        """Takes the total of a source in the place of its earlier one. Returns the sum of all."""
        self._sources[source] = used
        self._sources.move_to_end(source)
        if len(self._sources) > MAX_SOURCES:
            self._ended = self._ended.with_(self._sources.popitem(last=False)[1])
        total = self._ended
        for one in self._sources.values():
            total = total.with_(one)
        return total
