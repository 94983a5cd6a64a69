"""Pairs items of two streams by their times. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Side = Literal["left", "right"]


class TimePairs(Generic[T]):
    """Pairs each item with the one of the other side that is nearest in time, within a tolerance.

    The times of each side increase. An item is paired once, or dropped and counted: because the other side has no item near it, or
    one that is nearer to another item.
    """

    def __init__(self, tolerance: float, most: int) -> None:
        """`tolerance`: seconds between the items of a pair, at most. `most`: items of each side that may wait."""
        self._tolerance = tolerance
        self._most = most
        self._waiting: dict[Side, deque[tuple[float, T]]] = {"left": deque(), "right": deque()}
        self._ended: set[Side] = set()
        self.dropped: dict[Side, int] = {"left": 0, "right": 0}
        """Items of each side that were not paired."""

    def is_full(self, side: Side) -> bool:
        """As many items of a side wait as may."""
        return len(self._waiting[side]) >= self._most

    def put(self, side: Side, at: float, item: T) -> None:
        """Adds an item with its time in seconds. If its side is full, the oldest item is dropped."""
        waiting = self._waiting[side]
        if self.is_full(side):
            waiting.popleft()
            self.dropped[side] += 1
        waiting.append((at, item))

    def end(self, side: Side) -> None:
        """No more items of a side follow."""
        self._ended.add(side)

    def pairs(self) -> Iterator[tuple[T, T]]:
        """The pairs that no later item can change, in the order of their times."""
        left, right = self._waiting["left"], self._waiting["right"]
        while left and right:
            early: Side = "left" if left[0][0] <= right[0][0] else "right"
            late: Side = "right" if early == "left" else "left"
            ahead, behind = self._waiting[early], self._waiting[late]
            distance = behind[0][0] - ahead[0][0]
            if distance > self._tolerance:
                self._drop(early)
                continue
            # The next item of the earlier side may be nearer to the other one.
            if len(ahead) > 1:
                if abs(behind[0][0] - ahead[1][0]) < distance:
                    self._drop(early)
                    continue
            elif distance > 0 and early not in self._ended and not self.is_full(late):
                return
            yield left.popleft()[1], right.popleft()[1]
        if "left" in self._ended and not left:
            self.dropped["right"] += len(right)
            right.clear()
        if "right" in self._ended and not right:
            self.dropped["left"] += len(left)
            left.clear()

    def _drop(self, side: Side) -> None:
        self._waiting[side].popleft()
        self.dropped[side] += 1
