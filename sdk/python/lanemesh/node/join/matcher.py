"""The rule by which a `join` fires: items with the same sequence tag form a set. Pure: no asyncio, no lanes.

A set has one item of each input. At most one input may have several items with a tag; each of them forms a set with the items of
the others. A tag is *incomplete* once no set with it can complete any more, because an input cannot get an item with it: the items
with this tag at the other inputs are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MAX_IDLE_TAGS = 100_000
"""Maximum number of sequence tags whose state is kept although no item with them waits: a set has fired or none can complete, and
more items with the tag may still arrive. Beyond it the oldest are evicted: a later item with such a tag is dropped at the end."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Maximum number of bytes of items that are kept for further sets of tags of which one has fired: 64 MiB."""

T = TypeVar("T")
"""An item."""


class SeveralOnTwoInputs(Exception):
    """Two inputs have several items with one sequence tag, so that the pairing is ambiguous."""

    def __init__(self, tag: int, inputs: tuple[str, str]) -> None:
        super().__init__(f"the inputs {inputs[0]} and {inputs[1]} each have several items with the sequence tag {tag}")
        self.tag = tag
        self.inputs = inputs


@dataclass(frozen=True, slots=True)
class JoinedSet(Generic[T]):
    """Items with one sequence tag, one of each input."""

    items: Mapping[str, T]
    """By input."""
    new: tuple[str, ...]
    """Inputs whose item is in a set for the first time. The other items were in an earlier set of this tag."""


@dataclass(slots=True)
class _TagState(Generic[T]):
    """The state of one sequence tag."""

    waiting: dict[str, list[T]] = field(default_factory=dict)
    """Items that are not in a set yet, by input."""
    kept: dict[str, T] | None = None
    """The items of the first set, once it exists."""
    kept_bytes: int = 0
    input_with_several_items: str = ""
    """The input that has several items; empty if none has."""
    done: set[Hashable] = field(default_factory=set)
    """Lanes on which no more items with this tag arrive."""
    incomplete: bool = False
    """No set with this tag can complete any more."""
    may_complete: bool = False
    """A further set may complete, or an item may arrive that raises SeveralOnTwoInputs."""


class JoinMatcher(Generic[T]):
    """Forms sets of items with the same sequence tag."""

    def __init__(
        self,
        lanes: Mapping[str, Collection[Hashable]],
        size: Callable[[T], int] = lambda _: 0,
        *,
        max_idle: int = MAX_IDLE_TAGS,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        """`lanes` has the lanes of each input, and `size` returns an item's bytes."""
        self.ready: deque[JoinedSet[T]] = deque()
        """Complete sets, oldest first. The caller that fires them removes them."""
        self.dropped: list[tuple[str, T]] = []
        """Items without a set, with their inputs. The caller that counts them removes them."""
        self.evicted_tags = 0
        """Number of tags whose state was dropped, to bound memory, while more items with them might have arrived."""
        self._lanes = {name: tuple(lanes) for name, lanes in lanes.items()}
        self._size = size
        self._max_idle = max_idle
        self._max_kept_bytes = max_kept_bytes
        self._states: dict[int, _TagState[T]] = {}
        self._idle: dict[int, None] = {}
        """Tags with which no item waits, oldest first."""
        self._kept_bytes = 0
        self._open_tags = 0
        """Number of tags that `may_complete`."""
        self._ended: set[Hashable] = set()
        self._ended_inputs: set[str] = set()

    @property
    def over(self) -> bool:
        """No further set will be complete, none is ready, and no item can arrive that might have been in one."""
        return bool(self._ended_inputs) and not self._open_tags and not self.ready

    @property
    def remembered(self) -> int:
        """Number of tags whose state is kept."""
        return len(self._states)

    def arrive(self, name: str, lane: Hashable, tag: int | None, item: T | None, *, done: bool) -> None:
        """A lane of an input has delivered an item, or has completed a tag (`done`), or both.

        Raises:
            SeveralOnTwoInputs: the pairing is ambiguous.
        """
        if tag is None:
            if item is not None:
                self.dropped.append((name, item))
            return
        state = self._states.get(tag)
        if state is None:
            state = self._states[tag] = _TagState()
        if item is not None:
            self._place(state, tag, name, item)
        if done:
            state.done.add(lane)
        self._update_state(tag, state)

    def end(self, lane: Hashable) -> None:
        """A lane has ended."""
        if lane in self._ended:
            return
        self._ended.add(lane)
        self._ended_inputs = {name for name, lanes in self._lanes.items() if self._ended.issuperset(lanes)}
        for tag, state in list(self._states.items()):
            self._update_state(tag, state)

    def _place(self, state: _TagState[T], tag: int, name: str, item: T) -> None:
        if state.incomplete:
            self.dropped.append((name, item))
            return
        if state.kept is not None:
            self._have_several(state, tag, name)
            self.ready.append(JoinedSet({**state.kept, name: item}, (name,)))
            return
        waiting = state.waiting.setdefault(name, [])
        waiting.append(item)
        if len(waiting) > 1:
            self._have_several(state, tag, name)
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

    def _have_several(self, state: _TagState[T], tag: int, name: str) -> None:
        if state.input_with_several_items not in ("", name):
            raise SeveralOnTwoInputs(tag, (state.input_with_several_items, name))
        state.input_with_several_items = name

    def _update_state(self, tag: int, state: _TagState[T]) -> None:
        """Updates the state of a tag, and drops the state if no more items with the tag can arrive."""
        still_open = [name for name in self._lanes if self._is_open(state, name)]
        if state.kept is None and not state.incomplete:
            state.incomplete = any(name not in state.waiting and name not in still_open for name in self._lanes)
            if state.incomplete:
                self.dropped.extend((name, item) for name, items in state.waiting.items() for item in items)
                state.waiting = {}
        may_complete = bool(still_open) and not state.incomplete  # also if only an error may come: it has to be raised
        self._open_tags += may_complete - state.may_complete
        state.may_complete = may_complete
        if not still_open:
            self._drop_state(tag, state)
        elif state.waiting:
            self._idle.pop(tag, None)
        else:
            self._idle.setdefault(tag)
            self._evict_oldest()

    def _is_open(self, state: _TagState[T], name: str) -> bool:
        """More items with this tag may arrive at an input."""
        return any(lane not in state.done and lane not in self._ended for lane in self._lanes[name])

    def _evict_oldest(self) -> None:
        while self._idle and (len(self._idle) > self._max_idle or self._kept_bytes > self._max_kept_bytes):
            tag = next(iter(self._idle))
            self._drop_state(tag, self._states[tag])
            self.evicted_tags += 1

    def _drop_state(self, tag: int, state: _TagState[T]) -> None:
        self._open_tags -= state.may_complete
        state.may_complete = False
        self._kept_bytes -= state.kept_bytes
        del self._states[tag]
        self._idle.pop(tag, None)
