"""What one question has used, and whether that is too much. Pure, but for the clock."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable

from lanemesh import Usage

from lanemesh_services.agent.config import Budget


class Spending:
    """What one question has used of its budget."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self.usage = Usage(0, 0)
        """Tokens of all turns, their cost, and calls that were made; with those of sub-agents."""
        self._budget = budget
        self._clock = clock
        self._began = clock()

    def count(self, usage: Usage) -> None:
        """Adds the usage of a turn, or the further usage of a call."""
        self.usage += usage

    def take_call(self) -> bool:
        """Counts a call, if the budget has one left."""
        if self._budget.calls is not None and self.usage.tool_calls >= self._budget.calls:
            return False
        self.count(Usage(0, 0, tool_calls=1))
        return True

    @property
    def seconds_left(self) -> float | None:
        """Seconds that are left, at least 0; None: any number."""
        if self._budget.seconds is None:
            return None
        return max(0.0, self._budget.seconds - (self._clock() - self._began))

    def exhausted(self) -> str:
        """Which budget is used up, in words; empty if none is."""
        return self._reached(operator.ge)

    def exceeded(self) -> str:
        """Which budget is used up and more, in words; empty if none is."""
        return self._reached(operator.gt)

    def _reached(self, compare: Callable[[float, float], bool]) -> str:
        budget, used = self._budget, self.usage
        if budget.calls is not None and compare(used.tool_calls, budget.calls):
            return f"budget of {budget.calls} tool call{'' if budget.calls == 1 else 's'}"
        if budget.tokens is not None and compare(used.prompt_tokens + used.completion_tokens, budget.tokens):
            return f"budget of {budget.tokens} tokens"
        if self.seconds_left == 0.0:
            return f"budget of {budget.seconds:g} s"
        if budget.cost is not None and compare(used.cost or 0.0, budget.cost):
            return f"budget of {budget.cost:g} for the model"
        return ""


class CallUsage:
    """What one call has used, as its tool reports it again and again. What is new is counted."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self._counted = Usage(0, 0)

    def reported(self, usage: Usage) -> None:
        """The call has used so much so far. Less than before is ignored: a tool may not give back what it has used."""
        before = self._counted
        self._counted = Usage(
            max(before.prompt_tokens, usage.prompt_tokens),
            max(before.completion_tokens, usage.completion_tokens),
            usage.cost if before.cost is None else max(before.cost, usage.cost or 0.0),
            max(before.tool_calls, usage.tool_calls),
        )
        cost = None if self._counted.cost is None else max(0.0, self._counted.cost - (before.cost or 0.0))
        self._spending.count(
            Usage(
                self._counted.prompt_tokens - before.prompt_tokens,
                self._counted.completion_tokens - before.completion_tokens,
                cost,
                self._counted.tool_calls - before.tool_calls,
            )
        )
