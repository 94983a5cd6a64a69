"""How much of what a node took is safe: done with, and all that came of it out of reach of the loss of its server. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

MAX_MARKS = 64
"""Most marks that wait at once; at this bound the newest is replaced."""

Counts = tuple[int, ...]


class Watermarks:
    """Marks how much had been sent when so much had been processed, and tells what is safe once that much is acknowledged.

    What a firing sends is counted as sent before the firing counts as processed, so that a look at any moment is a true mark: it
    may promise too little, and never too much.
    """

    def __init__(self, edges: int) -> None:
        """`edges` is the number of incoming edges."""
        self.committed: Counts = (0,) * edges
        """Of each incoming edge, how many items are safe."""
        self._marks: deque[tuple[Counts, Counts]] = deque()

    def look(self, processed: Sequence[int], sent: Sequence[int], acknowledged: Sequence[int]) -> Counts:
        """What is safe now.

        Args:
            processed: of each incoming edge, the items whose firings have ended.
            sent: of each outgoing edge, the items sent so far.
            acknowledged: of each outgoing edge, those of them that are safe with its consumer.
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
