"""How much an expression does for an item, counted while it does it."""

from __future__ import annotations

from typing import Any

MAX_STEPS = 200_000
"""Most steps of an expression for one item: the names, values, calls and signs that it evaluates, and the elements that its macros
go through."""
MAX_BYTES = 256 * 1024 * 1024
"""Most bytes of the values that an expression makes, reads and compares for one item: 256 MiB."""
VALUE_BYTES = 64
"""What a value counts for besides its text."""


class TooMuch(Exception):
    """An expression needs more steps or bytes than it may."""


class Work:
    """Counts the steps and the bytes of one evaluation. Every method raises TooMuch as soon as there are more than allowed, and
    before the memory is taken."""

    def __init__(self) -> None:
        self._steps = self._bytes = 0

    def step(self, count: int = 1) -> None:
        """Counts steps."""
        self._steps += count
        if self._steps > MAX_STEPS:
            raise TooMuch(f"it takes more than {MAX_STEPS:,} steps")

    def take(self, count: int) -> None:
        """Counts bytes."""
        self._bytes += count
        if self._bytes > MAX_BYTES:
            raise TooMuch(f"its values have more than {MAX_BYTES:,} bytes")

    def walk(self, value: Any, times: int = 1) -> None:
        """Counts the bytes of a value with all that it holds, `times` times. What is in it twice counts twice."""
        rest = [value]
        while rest:
            one = rest.pop()
            self.take(times * (VALUE_BYTES + size(one)))
            if isinstance(one, dict):
                for key, inner in one.items():
                    rest += (key, inner)
            elif isinstance(one, list):
                rest.extend(one)

    def compare(self, one: Any, other: Any) -> None:
        """Counts the comparison of two values."""
        if isinstance(one, str | bytes) and isinstance(other, str | bytes):
            self.take(VALUE_BYTES + min(size(one), size(other)))
        elif isinstance(one, list | dict) and isinstance(other, list | dict) and len(one) != len(other):
            self.take(VALUE_BYTES)
        else:
            self.walk(one)
            self.walk(other)

    def search(self, values: Any, value: Any) -> None:
        """Counts the comparisons of a value with the elements or keys of another one."""
        for element in values:
            self.compare(element, value)


def size(value: Any) -> int:
    """The most bytes that a text, or bytes as a text, take; 0 for other values, without what they hold."""
    if isinstance(value, str | bytes):
        return len(value) if value.isascii() else 4 * len(value)
    return 0
