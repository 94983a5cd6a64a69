"""Cuts one text into chunks while it arrives. Pure.

A cut depends only on the text up to the largest size of its chunk and 32 characters more, never on what follows or on the
pieces in which the text arrives. So a chunk leaves as soon as more text than that has come, and the chunks are the same for every
division into pieces. The splitters of langchain-text-splitters need the whole text: where they cut depends on all of it.

A text that may be as long as a chunk is measured, and measured again when it is an eighth longer. So what is measured of a text
is a small multiple of it, and a chunk leaves at most an eighth of its length later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lanemesh_services.documents.splitting.measures import Measure
from lanemesh_services.documents.splitting.separators import WEAK, cut_after

LEAST_SHARE = 0.25
"""A chunk has at least this share of its largest size, unless the text ends."""
LEAST_WEAK_SHARE = 0.5
"""The same of a chunk that ends within a sentence."""
LOOK_AHEAD = 32
"""So many characters after the largest size are looked at, since a chunk may end before a heading that begins there."""
SLICE = 64 * 1024
"""Characters of a piece that are taken at a time."""
JOINED = 4096
"""With so many characters in pieces they become one text."""
_FENCE = re.compile(r"^(?:```|~~~)", re.MULTILINE)
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Rules:
    """How texts are cut."""

    size: int
    """Largest size of a chunk, in the units of the measure."""
    overlap: int
    """So many units of a chunk are repeated in the next one."""
    measure: Measure
    separators: Sequence[re.Pattern[str]]
    """Where to cut, from the strongest to the weakest."""
    keeps_fences: bool = False
    """Code between the fences of Markdown is cut only if it is longer than a chunk."""


class Chunker:
    """The chunks of one text."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._pieces: list[str] = []
        self._waiting = 0
        self._rest = ""
        self._overlap = 0
        self._due = rules.size + 1
        """The text is measured when it has so many characters. Of every measure, a unit has at least one character."""

    @property
    def waiting(self) -> int:
        """Characters that are not in a chunk yet."""
        return len(self._rest) + self._waiting

    def measures(self, characters: int) -> bool:
        """Whether the text is measured when it gets so many characters more."""
        return self.waiting + characters >= self._due

    def push(self, piece: str) -> Iterator[str]:
        """Adds a piece; yields the chunks that are certain."""
        for start in range(0, len(piece), SLICE):  # what is left of a long text is copied with each chunk
            yield from self._push(piece[start : start + SLICE])

    def _push(self, piece: str) -> Iterator[str]:
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting >= JOINED or self.measures(0):
            self._join()
        while len(self._rest) >= self._due:
            limit = self._rules.measure.limit(self._rest, self._rules.size, final=False)
            if limit is None:
                self._due = len(self._rest) + max(1, len(self._rest) // 8)
            elif len(self._rest) < limit + LOOK_AHEAD:
                self._due = limit + LOOK_AHEAD
            else:
                yield from self._cut(self._place(limit))

    def finish(self) -> Iterator[str]:
        """The text has ended: yields the last chunks."""
        self._join()
        while (limit := self._rules.measure.limit(self._rest, self._rules.size, final=True)) is not None:
            yield from self._cut(self._place(limit))
        if self._rest[self._overlap :].strip():
            yield self._rest.strip()
        self._rest, self._overlap, self._due = "", 0, self._rules.size + 1

    def _join(self) -> None:
        self._rest = "".join((self._rest, *self._pieces))
        self._pieces.clear()
        self._waiting = 0

    def _place(self, limit: int) -> int:
        """Where the first chunk of the text ends: at the last place of the strongest kind, not before the least size."""
        for keeps_fences in (True, False) if self._rules.keeps_fences else (False,):
            for separator in self._rules.separators:
                if places := self._places(separator, limit, keeps_fences=keeps_fences):
                    return places[-1]
        return limit

    def _places(self, separator: re.Pattern[str], limit: int, *, keeps_fences: bool) -> list[int]:
        share = LEAST_WEAK_SHARE if separator.pattern in WEAK else LEAST_SHARE
        least = max(int(limit * share), self._overlap) + 1
        found = []
        for match in separator.finditer(self._rest, 0, limit + LOOK_AHEAD):
            place = cut_after(match)
            if place > limit and match.start() <= limit and not self._rest[limit:place].strip():
                place = limit
            if least <= place <= limit and not (keeps_fences and self._in_fence(place)):
                found.append(place)
        return found

    def _in_fence(self, place: int) -> bool:
        return len(_FENCE.findall(self._rest[:place])) % 2 == 1

    def _cut(self, place: int) -> Iterator[str]:
        chunk = self._rest[:place].strip()
        start = self._rules.measure.back(self._rest, place, self._rules.overlap) if self._rules.overlap else place
        starts_within = 0 < start < place and not self._rest[start - 1].isspace()
        if starts_within and (blank := _BLANK.search(self._rest, start, place)):
            start = blank.end()  # a chunk begins with a whole word
        self._rest = self._rest[start:]
        self._overlap = place - start
        self._due = self._rules.size + 1
        if chunk:
            yield chunk
