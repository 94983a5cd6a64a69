"""What one question has used, and whether that is too much. Pure, but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from lanemesh import Usage

from lanemesh_services.agent.config import Budget


class Spending:
    """What one question has used of its budget."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self.calls = 0
        """Calls that were made."""
        self.cost: float | None = None
        """Money, as far as the model has reported it; None: it has not."""
        self._budget = budget
        self._clock = clock
        self._began = clock()
        self._prompt_tokens = self._completion_tokens = 0

    def count(self, usage: Usage) -> None:
        """Adds the usage of a turn."""
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens
        if usage.cost is not None:
            self.cost = (self.cost or 0.0) + usage.cost

    def take_call(self) -> bool:
        """Counts a call, if the budget has one left."""
        if self._budget.calls is not None and self.calls >= self._budget.calls:
            return False
        self.calls += 1
        return True

    @property
    def seconds_left(self) -> float | None:
        """Seconds that are left, at least 0; None: any number."""
        if self._budget.seconds is None:
            return None
        return max(0.0, self._budget.seconds - (self._clock() - self._began))

    @property
    def usage(self) -> Usage:
        """The tokens of all turns, and their cost."""
        return Usage(self._prompt_tokens, self._completion_tokens, self.cost)

    def exhausted(self) -> str:
        """Which budget is used up, in words; empty if none is."""
        budget = self._budget
        if budget.calls is not None and self.calls >= budget.calls:
            return f"budget of {budget.calls} tool call{'' if budget.calls == 1 else 's'}"
        if budget.tokens is not None and self._prompt_tokens + self._completion_tokens >= budget.tokens:
            return f"budget of {budget.tokens} tokens"
        if self.seconds_left == 0.0:
            return f"budget of {budget.seconds:g} s"
        if budget.cost is not None and (self.cost or 0.0) >= budget.cost:
            return f"budget of {budget.cost:g} for the model"
        return ""
