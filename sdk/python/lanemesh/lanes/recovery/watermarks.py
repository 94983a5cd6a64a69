"""Computes how many items of a node are committed: processed, with all derived items safe from the loss of its server. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

MAX_MARKS = 64
"""Most pending marks; at this bound the newest is replaced."""

Counts = tuple[int, ...]


class Watermarks:
    """Records how much had been sent when so much had been processed. That much is committed once what was sent is acknowledged.

    The outputs of a firing are counted as sent before the firing counts as processed. So a snapshot at any moment is a valid mark:
    it may promise too little, and never too much.
    """

    def __init__(self, edges: int) -> None:
        """`edges` is the number of incoming edges."""
        self.committed: Counts = (0,) * edges
        """Number of committed items of each incoming edge."""
        self._marks: deque[tuple[Counts, Counts]] = deque()

    def look(self, processed: Sequence[int], sent: Sequence[int], acknowledged: Sequence[int]) -> Counts:
        """The committed items now.

        Args:
            processed: of each incoming edge, the items whose firings have ended.
            sent: of each outgoing edge, the items sent so far.
            acknowledged: of each outgoing edge, the sent items that are committed at its consumer.
        """
        newest = self._marks[-1][0] if self._marks else self.committed
        if (now := tuple(processed)) != newest:
            if len(self._marks) >= MAX_MARKS:
                self._marks.pop()
            self._marks.append((now, tuple(sent)))
        while self._marks and all(
            known >= wanted for known, wanted in zip(acknowledged, self._marks[0][1], strict=True)
        ):
            self.committed = self._marks.popleft()[0]
        return self.committed
