"""The rule by which a `join` fires: items with the same sequence tag belong together. Pure: no asyncio, no lanes.

Every input gets items with tags. A set is one item of each input, all with one tag. At most one input may have several items with
a tag, each of which makes a set with the items of the others. A tag is *dead* once an input cannot get an item for it any more:
the items of the other inputs are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MAX_IDLE_NUMBERS = 100_000
"""Most tags that are remembered without waiting items: tags of which a set has fired, or dead ones, that may still get items.
Beyond that the oldest are forgotten. Their later items find no sibling, and are dropped at the end."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Most bytes of items that are kept for further sets of a tag that has fired: 64 MiB."""

T = TypeVar("T")
"""An item."""


class SeveralOnTwoInputs(Exception):
    """Two inputs have several items with one tag, so that the pairing is ambiguous."""

    def __init__(self, number: int, inputs: tuple[str, str]) -> None:
        super().__init__(
            f"the inputs {inputs[0]} and {inputs[1]} each have several items with the sequence tag {number}"
        )
        self.number = number
        self.inputs = inputs


@dataclass(frozen=True, slots=True)
class JoinedSet(Generic[T]):
    """Items with one tag, one of each input."""

    items: Mapping[str, T]
    """By input."""
    new: tuple[str, ...]
    """Inputs whose item is in a set for the first time. The other items were in an earlier set of this tag."""


@dataclass(slots=True)
class _Number(Generic[T]):
    """The state of one tag."""

    waiting: dict[str, list[T]] = field(default_factory=dict)
    """Items that are not in a set yet, by input."""
    kept: dict[str, T] | None = None
    """The items of the first set, once it exists."""
    kept_bytes: int = 0
    several: str = ""
    """The input that has several items."""
    done: set[Hashable] = field(default_factory=set)
    """Lanes that have completed the tag."""
    dead: bool = False
    """There will be no set."""
    promising: bool = False
    """There may be a further set, or an ambiguous item."""


class Joining(Generic[T]):
    """Joins items with the same tag."""

    def __init__(
        self,
        lanes: Mapping[str, Collection[Hashable]],
        size: Callable[[T], int] = lambda _: 0,
        *,
        max_idle: int = MAX_IDLE_NUMBERS,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        """`lanes` has the lanes of each input, and `size` returns an item's bytes."""
        self.ready: deque[JoinedSet[T]] = deque()
        """Complete sets, oldest first. The caller that fires them removes them."""
        self.dropped: list[tuple[str, T]] = []
        """Items without a set, with their inputs. The caller that counts them removes them."""
        self.forgotten = 0
        """Number of tags that might have got more items, and were forgotten at the bound."""
        self._lanes = {name: tuple(lanes) for name, lanes in lanes.items()}
        self._size = size
        self._max_idle = max_idle
        self._max_kept_bytes = max_kept_bytes
        self._numbers: dict[int, _Number[T]] = {}
        self._idle: dict[int, None] = {}
        """Tags without waiting items, oldest first."""
        self._kept_bytes = 0
        self._promising = 0
        self._ended: set[Hashable] = set()
        self._ended_inputs: set[str] = set()

    @property
    def over(self) -> bool:
        """No further set will be complete, none is ready, and no item can arrive that might have been in one."""
        return bool(self._ended_inputs) and not self._promising and not self.ready

    @property
    def remembered(self) -> int:
        """Number of tags with a state, which determines the memory."""
        return len(self._numbers)

    def arrive(self, name: str, lane: Hashable, number: int | None, item: T | None, *, done: bool) -> None:
        """A lane of an input has delivered an item, or has completed a tag (`done`), or both.

        Raises:
            SeveralOnTwoInputs: the pairing is ambiguous.
        """
        if number is None:
            if item is not None:
                self.dropped.append((name, item))
            return
        state = self._numbers.get(number)
        if state is None:
            state = self._numbers[number] = _Number()
        if item is not None:
            self._place(state, number, name, item)
        if done:
            state.done.add(lane)
        self._settle(number, state)

    def end(self, lane: Hashable) -> None:
        """A lane has ended."""
        if lane in self._ended:
            return
        self._ended.add(lane)
        self._ended_inputs = {name for name, lanes in self._lanes.items() if self._ended.issuperset(lanes)}
        for number, state in list(self._numbers.items()):
            self._settle(number, state)

    def _place(self, state: _Number[T], number: int, name: str, item: T) -> None:
        if state.dead:
            self.dropped.append((name, item))
            return
        if state.kept is not None:
            self._have_several(state, number, name)
            self.ready.append(JoinedSet({**state.kept, name: item}, (name,)))
            return
        waiting = state.waiting.setdefault(name, [])
        waiting.append(item)
        if len(waiting) > 1:
            self._have_several(state, number, name)
        if len(state.waiting) < len(self._lanes):
            return
        first = {other: state.waiting[other][0] for other in self._lanes}
        self.ready.append(JoinedSet(first, tuple(first)))
        for other, items in state.waiting.items():
            self.ready.extend(JoinedSet({**first, other: further}, (other,)) for further in items[1:])
        state.waiting = {}
        state.kept = first
        state.kept_bytes = sum(map(self._size, first.values()))
        self._kept_bytes += state.kept_bytes

    def _have_several(self, state: _Number[T], number: int, name: str) -> None:
        if state.several not in ("", name):
            raise SeveralOnTwoInputs(number, (state.several, name))
        state.several = name

    def _settle(self, number: int, state: _Number[T]) -> None:
        """Updates the state of a tag, and forgets it if nothing more can arrive."""
        still_open = [name for name in self._lanes if self._is_open(state, name)]
        if state.kept is None and not state.dead:
            state.dead = any(name not in state.waiting and name not in still_open for name in self._lanes)
            if state.dead:
                self.dropped.extend((name, item) for name, items in state.waiting.items() for item in items)
                state.waiting = {}
        promising = bool(still_open) and not state.dead  # also if only an error may result: it has to be reported
        self._promising += promising - state.promising
        state.promising = promising
        if not still_open:
            self._forget(number, state)
        elif state.waiting:
            self._idle.pop(number, None)
        else:
            self._idle.setdefault(number)
            self._bound()

    def _is_open(self, state: _Number[T], name: str) -> bool:
        """The input may get more items with the tag."""
        return any(lane not in state.done and lane not in self._ended for lane in self._lanes[name])

    def _bound(self) -> None:
        while self._idle and (len(self._idle) > self._max_idle or self._kept_bytes > self._max_kept_bytes):
            number = next(iter(self._idle))
            self._forget(number, self._numbers[number])
            self.forgotten += 1

    def _forget(self, number: int, state: _Number[T]) -> None:
        self._promising -= state.promising
        state.promising = False
        self._kept_bytes -= state.kept_bytes
        del self._numbers[number]
        self._idle.pop(number, None)
