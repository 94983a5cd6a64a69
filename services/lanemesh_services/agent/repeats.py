"""Detects that a model makes the same call again and again. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

MAX_IN_VAIN = 2
"""Number of waves that consist of refused repetitions before the agent has to answer."""


class Repeats:
    """The calls of one question, by tool and arguments."""

    def __init__(self, most: int) -> None:
        """`most`: how often a call may be made."""
        self._most = most
        self._made: Counter[str] = Counter()
        self._in_vain = 0

    def admit(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Counts a call. Returns False if it was made as often as allowed."""
        key = f"{tool} {json.dumps(arguments, sort_keys=True, default=str)}"
        if self._made[key] >= self._most:
            return False
        self._made[key] += 1
        return True

    def note_wave(self, calls: int, refused: int) -> None:
        """A wave has ended, with this number of calls, and of refused repetitions among them."""
        self._in_vain = self._in_vain + 1 if calls and refused == calls else 0

    @property
    def stuck(self) -> bool:
        """The model makes no other calls."""
        return self._in_vain >= MAX_IN_VAIN
