"""A join at its ports: what it holds counts against limits, what it gives out and drops is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from lanemesh.faults import Code, Fault, LaneFault, LanemeshError
from lanemesh.items import ABSENT, Envelope, Group, Lineage
from lanemesh.lanes.inbox.inbox import Edge, Inbox
from lanemesh.node.firing.join_taking import JoinTaking
from lanemesh.node.firing.taking import NoMoreFirings, Valueless
from lanemesh.node.join.lineage import LineageTracker
from lanemesh.node.waits import Wait

FORK = "f.x"


class Joined:
    """A join of "a" and "b" by the numbers of f.x; "one" comes once."""

    def __init__(self, names: str = "a b", tracker: LineageTracker | None = None) -> None:
        inbox = Inbox(names.split())
        self.edges: Mapping[str, Edge] = {name: inbox.add_edge(name, name, limit_items=2) for name in names.split()}
        self.taking = JoinTaking(inbox, names.split(), FORK, frozenset({"one"} & {*names.split()}), tracker)

    def put(
        self,
        name: str,
        number: int | None,
        value: Any = "v",
        *,
        done: bool = False,
        others: Mapping[str, int] | None = None,
    ) -> None:
        forks = {**({FORK: number} if number is not None else {}), **(others or {})}
        lineage = Lineage(forks, frozenset(forks if done else ())) if forks else None
        self.edges[name].put(value, 10, Envelope(lineage=lineage) if lineage is not None else None)

    def fires(self) -> list[dict[str, Any]]:
        """The values of all sets that are ready."""
        sets = []
        while type(step := self.taking.next()) is dict:
            sets.append({name: item.value for name, item in step.items()})
        return sets

    def buffered(self) -> list[int]:
        return [edge.buffered_items for edge in self.edges.values()]


def test_what_has_no_sibling_yet_counts_against_the_limit_of_its_edge() -> None:
    joined = Joined()
    joined.put("a", 0)
    joined.put("a", 1)
    assert joined.fires() == []
    assert joined.edges["a"].full
    assert joined.edges["a"].taken == 0
    joined.put("b", 1, "sibling")
    assert joined.fires() == [{"a": "v", "b": "sibling"}]
    assert not joined.edges["a"].full
    assert joined.buffered() == [1, 0]


def test_dropped_items_free_capacity_at_once() -> None:
    joined = Joined()
    joined.put("a", 0)
    joined.put("b", 0, ABSENT, done=True)
    assert joined.fires() == []
    assert joined.buffered() == [0, 0]
    assert (joined.edges["a"].taken, joined.edges["b"].taken) == (1, 1)


def test_it_waits_for_any_input_that_is_open() -> None:
    joined = Joined("a b one")
    assert joined.taking.next() is None
    assert joined.taking.waits_for == Wait(any_inputs=("one", "a", "b"))
    joined.put("a", 0)
    joined.edges["a"].end()
    joined.put("b", 0)
    assert joined.taking.next() is None
    assert joined.taking.waits_for == Wait(all_inputs=("one",))
    joined.put("one", None, "prompt")
    assert joined.fires() == [{"one": "prompt", "a": "v", "b": "v"}]
    assert joined.taking.waits_for == Wait(any_inputs=("b",))


def test_the_end_reports_the_dropped_items() -> None:
    joined = Joined()
    for name, number in (("a", 0), ("b", 0), ("a", 1), ("b", None)):
        joined.put(name, number, done=True)
    assert len(joined.fires()) == 1
    for edge in joined.edges.values():
        edge.end()
    detail = f"items without a sibling dropped: 1 on a; items without a sequence tag of {FORK} dropped: 1 on b"
    assert joined.taking.next() == NoMoreFirings(False, detail)


@pytest.mark.conformance("FIRE-12")
@pytest.mark.parametrize("empty", ["a", "b", "one"])
def test_an_input_that_ends_empty_is_named(empty: str) -> None:
    joined = Joined("a b one")
    for name, edge in joined.edges.items():
        if name != empty:
            joined.put(name, 0)
        edge.end()
    step = joined.taking.next()
    assert isinstance(step, NoMoreFirings)
    assert step.skipped
    assert step.detail.startswith(f'the required input "{empty}" ended without an item')


def test_whether_an_input_is_empty_is_waited_for() -> None:
    joined = Joined()
    joined.put("b", 0, done=True)
    joined.put("a", 0, ABSENT, done=True)
    joined.edges["b"].end()
    assert joined.taking.next() is None
    joined.edges["a"].end()
    assert joined.taking.next() == NoMoreFirings(
        True, 'the required input "a" ended without an item; items that waited: 1 on b'
    )


def test_a_fault_comes_after_the_sets_before_it() -> None:
    joined = Joined()
    joined.put("a", 0)
    joined.put("b", 0)
    joined.edges["a"].end(Fault(code=Code.INTERNAL, reason="broken", message="a producer broke"))
    assert isinstance(joined.taking.next(), dict)
    with pytest.raises(LaneFault, match="a producer broke"):
        joined.taking.next()


def test_several_items_of_a_number_on_two_inputs_fail_with_what_to_do() -> None:
    joined = Joined()
    joined.put("a", 7)
    joined.put("b", 7)
    assert len(joined.fires()) == 1
    joined.put("a", 7)
    assert len(joined.fires()) == 1
    joined.put("b", 7)
    with pytest.raises(LanemeshError, match=r"item 7 of f\.x.*Collect or assemble") as caught:
        joined.taking.next()
    assert caught.value.fault.reason == "join-several"


def test_the_end_of_a_group_is_passed_on_without_numbers() -> None:
    joined = Joined()
    end = Envelope(group=Group("g", 3, True), lineage=Lineage({FORK: 0}, frozenset({FORK})))
    joined.put("b", 0)
    joined.edges["a"].put(ABSENT, 10, end)
    step = joined.taking.next()
    assert isinstance(step, Valueless)
    assert step.item.envelope == Envelope(group=Group("g", 3, True))
    assert joined.fires() == []
    assert joined.buffered() == [0, 0]


def test_numbers_of_outer_forks_are_done_when_all_that_is_held_of_them_is() -> None:
    """Sets of an inner fork complete in any order: an outer number is done with the last of its sets, fired or dropped."""
    tracker = LineageTracker({"g.y": 2})
    joined = Joined(tracker=tracker)
    outer = {"g.y": 5}
    joined.put("a", 0, others=outer)
    joined.put("a", 1, done=True, others=outer)
    joined.put("b", 1, others=outer)
    step = joined.taking.next()
    assert isinstance(step, dict)
    given = [item.envelope.lineage for item in step.values() if item.envelope is not None]
    assert given == [Lineage({FORK: 1, "g.y": 5})] * 2  # for which it is the last was seen when it came
    for lineage in given:
        tracker.took(lineage)
    assert joined.taking.next() is None
    for lineage in given:
        tracker.finished(lineage)
    assert tracker.take_completed() == []  # 0 waits
    joined.edges["b"].put(ABSENT, 10, Envelope(lineage=Lineage({"g.y": 5}, frozenset({"g.y"}))))
    joined.put("b", 0, ABSENT, done=True)
    assert isinstance(joined.taking.next(), Valueless)
    assert tracker.take_completed() == [("g.y", 5)]
