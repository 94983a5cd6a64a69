"""What a component has used beyond its helpers, from several sources that report their totals."""

from __future__ import annotations

import sys
from collections import OrderedDict
from fractions import Fraction
from typing import NamedTuple

from lanemesh.json_values import INT_MAX
from lanemesh.values import Usage

MAX_SOURCES = 1_000
"""Most sources whose totals may still change. The one that reported longest ago is then taken as ended."""

_MAX_COST = Fraction(sys.float_info.max)


class Used(NamedTuple):
    """Calls, and their tokens if they are known."""

    calls: int = 0
    usage: Usage | None = None


class UsageSum:
    """Adds the totals of all sources. A report takes the same time however many sources there are."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, Used] = OrderedDict()
        self._calls = self._known = self._prompt = self._completion = self._tools = self._priced = 0
        self._cost = Fraction()
        """Exact, so that the earlier total of a source can be subtracted."""

    def take(self, source: str, used: Used) -> Used:
        """Takes the total of a source in the place of its earlier one. Returns the sum of all."""
        earlier = self._sources.pop(source, None)
        if earlier is not None:
            self._add(earlier, -1)
        self._add(used, 1)
        self._sources[source] = used
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)  # its total stays in the sum
        if not self._known:
            return Used(self._calls)
        cost = float(max(-_MAX_COST, min(self._cost, _MAX_COST))) if self._priced else None
        tokens = [min(number, INT_MAX) for number in (self._prompt, self._completion, self._tools)]
        return Used(self._calls, Usage(tokens[0], tokens[1], cost, tokens[2]))

    def _add(self, used: Used, sign: int) -> None:
        self._calls += sign * used.calls
        usage = used.usage
        if usage is None:
            return
        self._known += sign
        self._prompt += sign * usage.prompt_tokens
        self._completion += sign * usage.completion_tokens
        self._tools += sign * usage.tool_calls
        if usage.cost is not None:
            self._priced += sign
            self._cost += sign * Fraction(usage.cost)
