"""The updates of one run in memory: messages, runs of text outputs that are kept together, and pages of packed ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from lanemesh.text_outputs import Entry, TextOutputs, first_of, last_of, merged, size_of_entry
from lanemesh.v1 import run_pb2

MESSAGE_WEIGHT = 1_600
"""Bytes that a message occupies besides its content: 600 to 1,620 were measured, by how it was made and by its submessages."""
TEXTS_WEIGHT = 400
"""Bytes that text outputs occupy besides their texts."""
TEXT_WEIGHT = 48
"""Bytes that each of their texts occupies besides its content."""
PAGE_WEIGHT = 512
"""Bytes that a page occupies besides its content."""


class Kept(NamedTuple):
    """One kept entry."""

    entry: Entry
    last: int
    """Number of its last update."""
    size: int
    """Bytes of its updates."""
    total: int
    """Bytes of all updates of the run up to its last one."""


class Page(NamedTuple):
    """Packed entries."""

    content: bytes
    """A serialized `WatchRunResponse`."""
    last: int
    """Number of the last update."""
    size: int
    """Bytes of the updates, as `Kept.size` counts them."""
    total: int
    """Bytes of all updates of the run up to the last one."""

    def unpack(self) -> Iterator[Kept]:
        """The entries."""
        frame = run_pb2.WatchRunResponse.FromString(self.content)
        total = self.total - self.size
        for entry in merged(frame.updates, frame.text_outputs):
            size = size_of_entry(entry)
            total += size
            yield Kept(entry, last_of(entry), size, total)


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
            if isinstance(entry, TextOutputs) and first_of(entry) <= sequence:
                entry = entry.part(sequence + 1 - first_of(entry))
            rest += size_of_entry(entry)
        return self.total - rest


class KeptUpdates:
    """Consecutive updates of a run, of which the oldest can be packed, and dropped."""

    def __init__(self) -> None:
        self.first = 1
        """Number of the oldest kept update; of the next update if none is kept."""
        self.last = 0
        """Number of the latest update."""
        self.total = 0
        """Bytes of all updates of the run, dropped ones included."""
        self._pages: deque[Page] = deque()
        """The oldest updates."""
        self._kept: deque[Kept] = deque()

    def append(self, entry: Entry, size: int) -> None:
        """Appends a numbered entry of this number of bytes."""
        self.last += len(entry) if isinstance(entry, TextOutputs) else 1
        self.total += size
        self._kept.append(Kept(entry, self.last, size, self.total))

    def pack(self, last: int) -> int:
        """Packs the entries up to the one that ends with this update. Returns how many bytes they occupy now."""
        frame = run_pb2.WatchRunResponse()
        size = 0
        while self._kept and self._kept[0].last <= last:
            entry, _, more, total = self._kept.popleft()
            size += more
            if isinstance(entry, TextOutputs):
                frame.text_outputs.append(entry.to_proto())
            else:
                frame.updates.append(entry)
        page = Page(frame.SerializeToString(), last, size, total)
        self._pages.append(page)
        return len(page.content) + PAGE_WEIGHT

    def evict(self, last: int) -> None:
        """Drops the updates up to a number. An entry of several updates is dropped with its last one."""
        self.first = max(self.first, last + 1)
        while self._pages and self._pages[0].last <= last:
            self._pages.popleft()
        while self._kept and self._kept[0].last <= last:
            self._kept.popleft()

    def strip(self) -> int:
        """Drops all updates except the last one, which is packed alone. Returns how many bytes it occupies."""
        (last,) = self.portion(self.last, self.last, most=1, most_bytes=1).entries
        self.evict(self.last)
        size = size_of_entry(last)
        self._kept.append(Kept(last, self.last, size, self.total))
        self.first = self.last
        return self.pack(self.last)

    def after(self, sequence: int) -> Iterator[tuple[Entry, int]]:
        """The entries whose updates have larger numbers, each with its bytes. None of them may be packed."""
        for kept in islice(self._kept, _index(self._kept, sequence + 1), None):
            yield kept.entry, kept.size

    def portion(self, first: int, last: int, *, most: int, most_bytes: int) -> Portion:
        """The updates from `first`, which must be kept, up to `last`: at most `most` of them or `most_bytes`, and at least one."""
        last = min(last, first + most - 1)
        entries: list[Entry] = []
        size = total = 0
        reached = first - 1
        for entry, reaches, more, total_after in self._from(first):
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
            reached = min(reaches, last)
        return Portion(entries, reached, size, total)

    def _from(self, first: int) -> Iterator[Kept]:
        """The entries from the one with an update on."""
        kept = islice(self._kept, _index(self._kept, first), None)
        return chain(self._unpacked(first), kept) if self._pages and first <= self._pages[-1].last else kept

    def _unpacked(self, first: int) -> Iterator[Kept]:
        for page in islice(self._pages, _index(self._pages, first), None):
            yield from (kept for kept in page.unpack() if kept.last >= first)


def weight_of(entry: Entry, size: int) -> int:
    """How many bytes an entry of this size occupies."""
    if isinstance(entry, TextOutputs):
        return size + TEXTS_WEIGHT + TEXT_WEIGHT * len(entry)
    return size + MESSAGE_WEIGHT


def _index(entries: deque[Kept] | deque[Page], sequence: int) -> int:
    """Position of the entry or page with an update."""
    return bisect_left(entries, sequence, key=_last)


def _last(entry: Kept | Page) -> int:
    return entry.last
