"""Serializes the groups at an input: one after the other. Pure: no asyncio, no lanes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from lanemesh.items import Group

E = TypeVar("E")
Key = tuple[str, str]
"""Identifies a group: its source and its id."""


@dataclass(slots=True)
class _Turn(Generic[E]):
    """A group, or an item without one, that waits for its turn."""

    source: str
    key: Key | None
    entries: list[E]
    over: bool


class GroupOrder(Generic[E]):
    """Passes groups one after the other, in the order in which they began.

    While a group is open, entries of other groups and entries without a group are parked. A group is identified by its source,
    which is the edge, and its id.
    """

    def __init__(self) -> None:
        self._current: Key | None = None
        """The group that passes now."""
        self._turns: deque[_Turn[E]] = deque()
        """Parked groups and entries."""
        self._open: dict[Key, _Turn[E]] = {}
        """Parked groups that have not ended."""
        self.parked = 0
        """Number of parked entries."""

    @property
    def open_groups(self) -> int:
        """Groups that have begun and not ended."""
        return len(self._open) + (self._current is not None)

    def put(self, source: str, group: Group | None, entry: E) -> list[E]:
        """Adds an entry. Returns the entries that pass now."""
        key = (source, group.id) if group is not None else None
        over = group is None or group.last
        if self._current is None:
            self._current = None if over else key
            return [entry]
        if key == self._current:
            return [entry, *self._next()] if over else [entry]
        self._put_aside(source, key, over, entry)
        return []

    def end(self, source: str) -> list[E]:
        """A source has ended, and its groups with it. Returns the entries that pass now."""
        for key in [key for key in self._open if key[0] == source]:
            self._open.pop(key).over = True
        return self._next() if self._current is not None and self._current[0] == source else []

    def drop(self, source: str) -> list[E]:
        """Discards the parked entries of a source, and ends its groups. Returns the entries of other sources that pass now."""
        self._turns = deque(turn for turn in self._turns if turn.source != source)
        self.parked = sum(len(turn.entries) for turn in self._turns)
        return self.end(source)

    def _put_aside(self, source: str, key: Key | None, over: bool, entry: E) -> None:
        turn = self._open.get(key) if key is not None else None
        if turn is None:
            turn = _Turn(source, key, [], over)
            self._turns.append(turn)
            if key is not None:
                self._open[key] = turn
        turn.entries.append(entry)
        self.parked += 1
        if over and key is not None:
            turn.over = True
            del self._open[key]

    def _next(self) -> list[E]:
        """Ends the current group. Returns the entries that pass now."""
        self._current = None
        passing: list[E] = []
        while self._turns and self._current is None:
            turn = self._turns.popleft()
            passing += turn.entries
            if not turn.over and turn.key is not None:
                self._current = turn.key
                del self._open[turn.key]
        self.parked -= len(passing)
        return passing
