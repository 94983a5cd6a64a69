"""Lineage: from which item of which fork a value descends, handed on from what a node takes to what it sends.

A *fork* is an output whose items are numbered, since a join further down pairs by them. Every lane between the two keeps a
promise: after the last item that it carries for a number it says so, on that item or by one without a value. So a join knows when
a number is complete, in whatever order the numbers come. The end of a lane says so for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from lanemesh.items import Envelope, Item, Lineage

MAX_OPEN_NUMBERS = 100_000
"""Most numbers of which a node remembers how far they are. Past it the oldest are forgotten: their end is told with that of the
node's lanes."""

_NONE: frozenset[str] = frozenset()

SequenceTag = tuple[str, int]
"""A fork, and the number of an item of it."""


def lineage_of(item: Item) -> Lineage | None:
    """The lineage of an item; None if it has none."""
    return item.envelope.lineage if item.envelope is not None else None


def with_lineage(envelope: Envelope | None, lineage: Lineage | None) -> Envelope | None:
    """The same envelope with another lineage; None if it would be empty."""
    if envelope is None:
        return Envelope(lineage=lineage) if lineage is not None else None
    if envelope.lineage == lineage:
        return envelope
    if lineage is None and envelope.group is None and envelope.metadata is None and envelope.created_at is None:
        return None
    return replace(envelope, lineage=lineage)


class LineageTracker:
    """What a node hands on of the numbers that it takes: which it has done with, and which of them nothing more comes for."""

    def __init__(self, lanes: Mapping[str, int], *, max_open: int = MAX_OPEN_NUMBERS) -> None:
        """`lanes`: for each fork whose numbers are handed on, by how many incoming lanes they come."""
        self.closed: list[SequenceTag] = []
        """Numbers for which nothing more comes, and of which that is to be told. Whoever tells it takes them out."""
        self._lanes = lanes
        self._max_open = max_open
        self._open: dict[SequenceTag, list[int]] = {}
        """Of each number the lanes that are not done with it, and the items that the node is not done with."""

    def took(self, lineage: Lineage | None, *, valued: bool = True) -> None:
        """The node has taken an item with this lineage; or one without a value, which is no work."""
        if lineage is None:
            return
        for fork, number in lineage.forks.items():
            lanes = self._lanes.get(fork)
            if lanes is None:
                continue
            state = self._open.get((fork, number))
            if state is None:
                state = self._open[fork, number] = [lanes, 0]
                if len(self._open) > self._max_open:
                    del self._open[next(iter(self._open))]
            state[0] -= fork in lineage.done
            state[1] += valued
            if not valued:
                self._close(fork, number, state)

    def closing(self, lineages: Iterable[Lineage]) -> set[SequenceTag]:
        """The numbers for which nothing more comes once the node has done with items of these lineages."""
        counts = Counter((fork, number) for lineage in lineages for fork, number in lineage.forks.items())
        return {
            one
            for one, count in counts.items()
            if one in self._open and self._open[one][0] <= 0 and self._open[one][1] <= count
        }

    def finished(self, lineage: Lineage | None) -> None:
        """The node has done with an item that it took: it sends nothing more for it but what tells so."""
        if lineage is None:
            return
        for fork, number in lineage.forks.items():
            state = self._open.get((fork, number))
            if state is not None:
                state[1] = max(0, state[1] - 1)
                self._close(fork, number, state)

    def _close(self, fork: str, number: int, state: Sequence[int]) -> None:
        if state[0] <= 0 and state[1] == 0:
            del self._open[fork, number]
            self.closed.append((fork, number))

    def numbers(self, lineages: Iterable[Lineage | None]) -> dict[str, int]:
        """The numbers that a value has which descends from items with these lineages: those on which none disagrees."""
        found: dict[str, int] = {}
        erased: set[str] = set()
        for lineage in lineages:
            for fork, number in lineage.forks.items() if lineage is not None else ():
                if fork in self._lanes and found.setdefault(fork, number) != number:
                    erased.add(fork)
        for fork in erased:
            del found[fork]
        return found

    def take_completed(self) -> list[SequenceTag]:
        """Takes out what is to be told."""
        told, self.closed = self.closed, []
        return told


def one_of_each_fork(numbers: Iterable[SequenceTag]) -> list[dict[str, int]]:
    """The same numbers in as few portions as there can be: an item carries one number of each fork."""
    portions: list[dict[str, int]] = []
    for fork, number in numbers:
        portion = next((portion for portion in portions if fork not in portion), None)
        if portion is None:
            portions.append({fork: number})
        else:
            portion[fork] = number
    return portions


def tracker_of(incoming: Iterable[Collection[str]], outgoing: Iterable[Collection[str]]) -> LineageTracker | None:
    """What hands on the numbers of incoming lanes that outgoing ones carry too. Each lane tells its forks.

    Returns:
        None if there are none.
    """
    leaving = {fork for forks in outgoing for fork in forks}
    lanes = Counter(fork for forks in incoming for fork in forks if fork in leaving)
    return LineageTracker(lanes) if lanes else None


class LaneTags:
    """Which numbers the lanes of one output carry. If it is a fork, it numbers its items."""

    def __init__(self, output: str, forks: Mapping[str, Collection[str]]) -> None:
        """`output` as "component.port"; `forks` of each lane that carries numbers, by its edge."""
        self.forks = {edge: frozenset(lane) for edge, lane in forks.items()}
        """Those of each lane, by its edge."""
        self.handed = frozenset(fork for lane in forks.values() for fork in lane if fork != output)
        """Forks further up."""
        self._own = output if any(output in lane for lane in forks.values()) else ""
        self._only_own = frozenset({self._own})
        self._sent = 0

    def envelopes(
        self, envelope: Envelope | None, lineage: Lineage | None, *, valued: bool
    ) -> Mapping[str, Envelope | None]:
        """The envelopes of the next item: by edge, and for all other lanes under the empty name."""
        forks, done = (lineage.forks, lineage.done) if lineage is not None else ({}, _NONE)
        if self._own and valued:  # nothing else has its number
            forks = {**forks, self._own: self._sent} if forks else {self._own: self._sent}
            done = done | self._only_own if done else self._only_own
            self._sent += 1
        made: dict[frozenset[str], Envelope | None] = {}
        found: dict[str, Envelope | None] = {"": with_lineage(envelope, None) if envelope is not None else None}
        for edge, carried in self.forks.items():
            if carried not in made:
                own = forks if forks.keys() <= carried else {fork: forks[fork] for fork in forks if fork in carried}
                last = done if own is forks else done & own.keys()
                made[carried] = with_lineage(envelope, Lineage(own, last) if own else None)
            found[edge] = made[carried]
        return found
