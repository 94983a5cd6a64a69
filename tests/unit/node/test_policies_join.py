"""`join` as a pure state machine: what fires, what is dropped, when it is over, whatever the order of arrivals and ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lanemesh.node.join.matcher import JoinMatcher, SeveralOnTwoInputs

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine may take its time."""

Item = tuple[str, int, int]
"""Input, number, and which of that number it is."""


@dataclass(frozen=True)
class Come:
    """Something that comes by a lane: an item, the word that a number is done, both, or its end."""

    lane: str
    number: int = -1
    item: Item | None = None
    done: bool = False
    end: bool = False

    @property
    def name(self) -> str:
        return self.lane[0]


def joining(lanes: Sequence[str], **options: Any) -> JoinMatcher[Item]:
    """A join whose lanes are named after their inputs: "a1" is one of "a"."""
    inputs = sorted({lane[0] for lane in lanes})
    return JoinMatcher({name: [lane for lane in lanes if lane[0] == name] for name in inputs}, **options)


@dataclass
class Fired:
    """What a join has done so far."""

    join: JoinMatcher[Item]
    sets: list[dict[str, Item]] = field(default_factory=list)
    new: list[Item] = field(default_factory=list)
    dropped: list[Item] = field(default_factory=list)

    def see(self, *coming: Come) -> None:
        for come in coming:
            if come.end:
                self.join.end(come.lane)
            else:
                self.join.arrive(come.name, come.lane, come.number, come.item, done=come.done)
            while self.join.ready:
                fired = self.join.ready.popleft()
                self.sets.append(dict(fired.items))
                self.new += [fired.items[name] for name in fired.new]
            self.dropped += [item for _, item in self.join.dropped]
            self.join.dropped.clear()


def item(name: str, number: int, place: int = 0, *, lane: str = "", done: bool = False) -> Come:
    return Come(lane or f"{name}1", number, (name, number, place), done)


def test_items_of_a_number_meet_whatever_their_order() -> None:
    fired = Fired(joining(["a1", "b1"]))
    fired.see(item("a", 0), item("a", 1), item("b", 1))
    assert fired.sets == [{"a": ("a", 1, 0), "b": ("b", 1, 0)}]
    fired.see(item("b", 0))
    assert fired.sets[1:] == [{"a": ("a", 0, 0), "b": ("b", 0, 0)}]


def test_each_of_several_items_meets_the_one_of_the_other_input() -> None:
    early, late = Fired(joining(["a1", "b1"])), Fired(joining(["a1", "b1"]))
    early.see(item("a", 7), item("b", 7, 0), item("b", 7, 1))
    late.see(item("b", 7, 0), item("b", 7, 1), item("a", 7))
    pairs = [{"a": ("a", 7, 0), "b": ("b", 7, place)} for place in (0, 1)]
    assert early.sets == late.sets == pairs
    assert early.new == [("a", 7, 0), ("b", 7, 0), ("b", 7, 1)]  # the one is taken once


def test_what_can_no_longer_meet_is_dropped_at_once() -> None:
    fired = Fired(joining(["a1", "b1"]))
    fired.see(item("a", 3), Come("b1", 3, done=True))
    assert fired.dropped == [("a", 3, 0)]
    fired.see(item("a", 3, 1, done=True))  # another one, later: its tag is incomplete
    assert fired.dropped == [("a", 3, 0), ("a", 3, 1)]
    assert fired.join.remembered == 0


def test_a_number_is_forgotten_when_every_lane_is_done_with_it() -> None:
    fired = Fired(joining(["a1", "b1"]))
    for number in range(1000):
        fired.see(item("a", number, done=True), item("b", number, done=True))
        assert fired.join.remembered == 0
    assert len(fired.sets) == 1000


def test_it_is_over_when_an_input_has_ended_and_nothing_pending_needs_the_others() -> None:
    fired = Fired(joining(["a1", "b1"]))
    fired.see(item("a", 0, done=True), item("a", 1, done=True), Come("a1", end=True))
    assert not fired.join.over
    fired.see(item("b", 0, done=True), item("b", 5, done=True))
    assert fired.dropped == [("b", 5, 0)]
    assert not fired.join.over  # 1 still waits for its sibling
    fired.see(item("b", 1, 0))
    assert not fired.join.over  # another one may follow
    fired.see(item("b", 1, 1, done=True))
    assert fired.join.over
    assert len(fired.sets) == 3


def test_an_input_with_two_lanes_is_done_when_both_are() -> None:
    fired = Fired(joining(["a1", "a2", "b1"]))
    fired.see(item("b", 0, done=True), Come("a1", 0, done=True))
    assert not fired.dropped
    fired.see(Come("a2", end=True))
    assert fired.dropped == [("b", 0, 0)]


@pytest.mark.parametrize("order", ["aabb", "abab", "abba", "baba"])
def test_several_items_of_a_tag_on_two_inputs_are_an_error(order: str) -> None:
    fired = Fired(joining(["a1", "b1"]))
    with pytest.raises(SeveralOnTwoInputs) as caught:
        fired.see(*(item(name, 4, place) for place, name in enumerate(order)))
    assert caught.value.tag == 4
    assert sorted(caught.value.inputs) == ["a", "b"]


def test_an_item_without_a_number_is_dropped() -> None:
    join = joining(["a1", "b1"])
    join.arrive("a", "a1", None, ("a", -1, 0), done=False)
    assert join.dropped == [("a", ("a", -1, 0))]


def test_what_never_ends_is_forgotten_past_a_bound_and_pairs_on() -> None:
    """Lanes that never report completion, such as those of `run`: each number may get another item."""
    fired = Fired(joining(["a1", "b1"], max_idle=10))
    for number in range(1000):
        fired.see(item("a", number), item("b", number))
        assert fired.join.remembered <= 11
    assert len(fired.sets) == 1000
    assert fired.join.evicted_tags == 990
    fired.see(item("b", 995, 1), item("b", 2, 1))
    assert fired.sets[1000:] == [{"a": ("a", 995, 0), "b": ("b", 995, 1)}]
    fired.see(Come("a1", end=True), Come("b1", end=True))
    assert fired.dropped == [("b", 2, 1)]
    assert (fired.join.over, fired.join.remembered) == (True, 0)


def test_kept_items_are_bounded_in_bytes() -> None:
    join = joining(["a1", "b1"], size=lambda _: 100, max_kept_bytes=1000)
    for number in range(100):
        for name in "ab":
            join.arrive(name, f"{name}1", number, (name, number, 0), done=False)
    assert (len(join.ready), join.remembered) == (100, 5)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[str], list[Come]]:
    """Lanes of two or three inputs, and what comes by them: reordered, some numbers dropped, some with several items."""
    inputs = draw(st.sampled_from(["ab", "abc"]))
    lanes = [f"{name}{index}" for name in inputs for index in range(1, 1 + draw(st.sampled_from([1, 1, 2])))]
    by_lane: dict[str, list[Come]] = {lane: [] for lane in lanes}
    for number in range(draw(st.integers(0, 6))):
        several = draw(st.sampled_from(["", *inputs]))
        for name in inputs:
            own = [lane for lane in lanes if lane[0] == name]
            count = draw(st.sampled_from([0, 1, 1, 1] if name != several else [0, 1, 2, 3]))
            coming: dict[str, list[Come]] = {lane: [] for lane in own}
            for place in range(count):
                lane = draw(st.sampled_from(own))
                coming[lane].append(item(name, number, place, lane=lane))
            for lane, items in coming.items():
                match draw(st.sampled_from(["on the last", "behind it", "never"])):
                    case "on the last" if items:
                        items[-1] = item(*items[-1].item or ("", 0, 0), lane=lane, done=True)
                    case "behind it":
                        items.append(Come(lane, number, done=True))
                by_lane[lane] = merged(draw, [by_lane[lane], items])
    return lanes, merged(draw, [[*coming, Come(lane, end=True)] for lane, coming in by_lane.items()])


def merged(draw: st.DrawFn, parts: list[list[Come]]) -> list[Come]:
    """One of the ways to interleave sequences, each of which keeps its order."""
    rest = [list(part) for part in parts if part]
    order: list[Come] = []
    while rest:
        part = rest[draw(st.integers(0, len(rest) - 1))] if len(rest) > 1 else rest[0]
        order.append(part.pop(0))
        rest = [part for part in rest if part]
    return order


def naive_sets(inputs: Sequence[str], items: Sequence[Item]) -> Counter[tuple[Item, ...]]:
    """Every combination of items of one number, one of each input."""
    numbers = {number for _, number, _ in items}
    return Counter(
        combination
        for number in numbers
        for combination in product(*([one for one in items if one[:2] == (name, number)] for name in inputs))
    )


def naive_over(lanes: Sequence[str], seen: Sequence[Come]) -> bool:
    """Whether no further set may come, from what was seen."""
    inputs = sorted({lane[0] for lane in lanes})
    ended = {come.lane for come in seen if come.end}

    def may_get(name: str, number: int) -> bool:
        done = ended | {come.lane for come in seen if come.done and come.number == number}
        return any(lane not in done for lane in lanes if lane[0] == name)

    if all(any(lane not in ended for lane in lanes if lane[0] == name) for name in inputs):
        return False  # a number that has not been seen yet
    for number in {come.number for come in seen if not come.end}:
        counts = {
            name: sum(come.item is not None and come.item[:2] == (name, number) for come in seen) for name in inputs
        }
        if any(not counts[name] and not may_get(name, number) for name in inputs):
            continue
        if any(may_get(name, number) for name in inputs):
            return False
    return True


@pytest.mark.conformance("FIRE-08")
@UNHURRIED
@given(histories())
def test_every_set_fires_as_it_completes_and_nothing_is_lost_or_stuck(history: tuple[list[str], list[Come]]) -> None:
    lanes, coming = history
    fired = Fired(joining(lanes))
    inputs = sorted({lane[0] for lane in lanes})
    for index, come in enumerate(coming):
        fired.see(come)
        seen = coming[: index + 1]
        came = [one.item for one in seen if one.item is not None]
        assert Counter(tuple(one[name] for name in inputs) for one in fired.sets) == naive_sets(inputs, came)
        assert fired.join.over == naive_over(lanes, seen)
    came = [come.item for come in coming if come.item is not None]
    in_sets = [item for one in fired.sets for item in one.values()]
    assert sorted(fired.new) == sorted(set(in_sets))
    assert sorted(fired.dropped) == sorted(set(came) - set(in_sets))
    assert (fired.join.over, fired.join.remembered) == (True, 0)
