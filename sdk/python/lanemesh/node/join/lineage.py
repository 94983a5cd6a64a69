"""Lineage: the forks and items from which a value descends, passed on from a node's inputs to its outputs.

A *fork* is an output whose items have sequence tags, because a join downstream pairs by them. Every lane between the two
guarantees: with the last item for a tag, or with an item without a value after it, it reports that the tag is completed. So a join
knows when a tag is complete, in any order of the tags. The end of a lane completes all its tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from lanemesh.items import Envelope, Item, Lineage

MAX_OPEN_NUMBERS = 100_000
"""Most sequence tags whose progress a node remembers. Beyond that the oldest are forgotten, and completed by the end of the
node's lanes."""

_NONE: frozenset[str] = frozenset()

SequenceTag = tuple[str, int]
"""A fork, and the number of one of its items."""


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
    """Tracks the sequence tags that a node takes and passes on: which are processed, and which are completed."""

    def __init__(self, lanes: Mapping[str, int], *, max_open: int = MAX_OPEN_NUMBERS) -> None:
        """`lanes`: for each fork whose tags are passed on, the number of incoming lanes that carry them."""
        self.closed: list[SequenceTag] = []
        """Completed tags that are to be reported. The reporter removes them."""
        self._lanes = lanes
        self._max_open = max_open
        self._open: dict[SequenceTag, list[int]] = {}
        """By tag, the number of lanes that have not completed it, and of items that the node has not processed."""

    def took(self, lineage: Lineage | None, *, valued: bool = True) -> None:
        """The node has taken an item with this lineage, or an item without a value, which needs no processing."""
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
        """The tags that are completed once the node has processed the items with these lineages."""
        counts = Counter((fork, number) for lineage in lineages for fork, number in lineage.forks.items())
        return {
            one
            for one, count in counts.items()
            if one in self._open and self._open[one][0] <= 0 and self._open[one][1] <= count
        }

    def finished(self, lineage: Lineage | None) -> None:
        """The node has processed an item: it sends no further value for it, only the completion."""
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

    def sequence_tags(self, lineages: Iterable[Lineage | None]) -> dict[str, int]:
        """The tags of a value that descends from items with these lineages: those on which no two disagree."""
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
        """Removes and returns the completed tags that are to be reported."""
        completed, self.closed = self.closed, []
        return completed


def one_of_each_fork(tags: Iterable[SequenceTag]) -> list[dict[str, int]]:
    """The same tags in as few parts as possible: an item carries one tag of each fork."""
    portions: list[dict[str, int]] = []
    for fork, number in tags:
        portion = next((portion for portion in portions if fork not in portion), None)
        if portion is None:
            portions.append({fork: number})
        else:
            portion[fork] = number
    return portions


def tracker_of(incoming: Iterable[Collection[str]], outgoing: Iterable[Collection[str]]) -> LineageTracker | None:
    """The tracker for the tags of incoming lanes that outgoing ones carry too. Each lane is given by its forks.

    Returns:
        None if there are none.
    """
    leaving = {fork for forks in outgoing for fork in forks}
    lanes = Counter(fork for forks in incoming for fork in forks if fork in leaving)
    return LineageTracker(lanes) if lanes else None


class LaneTags:
    """The tags that the lanes of one output carry. If the output is a fork, it numbers its items."""

    def __init__(self, output: str, forks: Mapping[str, Collection[str]]) -> None:
        """`output` as "component.port"; `forks` of each lane that carries tags, by its edge."""
        self.forks = {edge: frozenset(lane) for edge, lane in forks.items()}
        """The tags of each lane, by its edge."""
        self.passed_on = frozenset(fork for lane in forks.values() for fork in lane if fork != output)
        """Upstream forks."""
        self._own = output if any(output in lane for lane in forks.values()) else ""
        self._only_own = frozenset({self._own})
        self._sent = 0

    def envelopes(
        self, envelope: Envelope | None, lineage: Lineage | None, *, valued: bool
    ) -> Mapping[str, Envelope | None]:
        """The envelopes of the next item: by edge, and for all other lanes with the empty name."""
        forks, done = (lineage.forks, lineage.done) if lineage is not None else ({}, _NONE)
        if self._own and valued:  # no other item has its number
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
