"""The updates of one run in memory: messages, and runs of text outputs that are kept together."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from lanemesh.text_outputs import Entry, TextOutputs, first_of, last_of, size_of_entry


class Kept(NamedTuple):
    """One kept entry."""

    entry: Entry
    last: int
    """Number of its last update."""
    size: int
    """Its bytes."""
    total: int
    """Bytes of all updates of the run up to its last one."""


class Portion(NamedTuple):
    """Consecutive updates for a reader."""

    entries: list[Entry]
    last: int
    """Number of the last update."""
    size: int
    """Their bytes."""
    total: int
    """Bytes of all updates of the run up to the last one."""

    def total_at(self, sequence: int) -> int:
        """Bytes of all updates of the run up to one of this portion."""
        rest = 0
        for entry in reversed(self.entries):
            if last_of(entry) <= sequence:
                break
            later = first_of(entry) > sequence or not isinstance(entry, TextOutputs)
            rest += size_of_entry(entry if later else entry.part(sequence + 1 - first_of(entry)))  # type: ignore[union-attr]
        return self.total - rest


class KeptUpdates:
    """Consecutive updates of a run, of which the oldest can be dropped."""

    def __init__(self) -> None:
        self.first = 1
        """Number of the oldest kept update; of the next update if none is kept."""
        self.last = 0
        """Number of the latest update."""
        self.total = 0
        """Bytes of all updates of the run, dropped ones included."""
        self.bytes = 0
        """Bytes of the kept updates."""
        self._kept: deque[Kept] = deque()

    def append(self, entry: Entry, size: int) -> None:
        """Appends a numbered entry of this number of bytes."""
        self.last += len(entry) if isinstance(entry, TextOutputs) else 1
        self.total += size
        self.bytes += size
        self._kept.append(Kept(entry, self.last, size, self.total))

    def trim(self, most: int, most_bytes: int) -> None:
        """Drops the oldest entries until at most so many updates and bytes are kept, but never the latest entry."""
        kept = self._kept
        while len(kept) > 1 and (self.last + 1 - self.first > most or self.bytes > most_bytes):
            self._drop_first()

    def _drop_first(self) -> None:
        dropped = self._kept.popleft()
        self.bytes -= dropped.size
        self.first = dropped.last + 1

    def after(self, sequence: int) -> Iterator[tuple[Entry, int]]:
        """The kept entries whose updates have larger numbers, each with its bytes."""
        for kept in islice(self._kept, self._index(sequence + 1), None):
            yield kept.entry, kept.size

    def portion(self, first: int, last: int, *, most: int, most_bytes: int) -> Portion:
        """The updates from `first`, which must be kept, up to `last`: at most `most` of them or `most_bytes`, and at least one."""
        last = min(last, first + most - 1)
        index = self._index(first)
        entries: list[Entry] = []
        size = total = 0
        reached = first - 1
        for kept in islice(self._kept, index, None):
            entry, more, total_after = kept.entry, kept.size, kept.total
            if first_of(entry) > last:
                break
            if isinstance(entry, TextOutputs):
                start = max(0, first - entry.first)
                part = entry.part(start, last + 1 - entry.first)
                if part is not entry:
                    more = part.size
                    if part.last < entry.last:
                        total_after -= entry.part(part.last + 1 - entry.first).size
                    entry = part
            if entries and size + more > most_bytes:
                break
            entries.append(entry)
            size += more
            total = total_after
            reached = min(kept.last, last)
        return Portion(entries, reached, size, total)

    def _index(self, sequence: int) -> int:
        """Position of the entry with an update."""
        return bisect_left(self._kept, sequence, key=_last)


def _last(kept: Kept) -> int:
    return kept.last
