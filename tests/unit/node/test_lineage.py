"""Sequence tags through a node: the tags it passes on, the completions it emits, and the lanes that carry them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lanemesh.items import ABSENT, Envelope, Group, Item, LaneType, Lineage
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.join.lineage import LaneTags, LineageTracker, lineage_of, one_of_each_fork, tracker_of
from lanemesh.node.outputs import OutputLanes, Outputs

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine may take its time."""


def lineage(number: int, *done: str, fork: str = "f.x") -> Lineage:
    return Lineage({fork: number}, frozenset(done))


def test_a_number_is_closed_when_its_last_item_is_done_with() -> None:
    tracker = LineageTracker({"f.x": 1})
    tracker.took(lineage(3))
    tracker.took(lineage(3, "f.x"))
    tracker.finished(lineage(3))
    assert tracker.take_completed() == []
    assert tracker.closing([lineage(3)]) == {("f.x", 3)}
    tracker.finished(lineage(3))
    assert tracker.take_completed() == [("f.x", 3)]
    assert tracker.take_completed() == []


def test_a_number_without_items_is_closed_at_once() -> None:
    tracker = LineageTracker({"f.x": 1})
    tracker.took(lineage(3, "f.x"), valued=False)
    assert tracker.take_completed() == [("f.x", 3)]


def test_every_lane_must_report_completion() -> None:
    tracker = LineageTracker({"f.x": 2})
    tracker.took(lineage(3, "f.x"))
    tracker.finished(lineage(3))
    assert tracker.take_completed() == []
    tracker.took(lineage(3, "f.x"), valued=False)
    assert tracker.take_completed() == [("f.x", 3)]


def test_forks_that_are_not_handed_on_are_no_matter() -> None:
    tracker = LineageTracker({"f.x": 1})
    tracker.took(lineage(3, "g.y", fork="g.y"))
    tracker.finished(lineage(3, fork="g.y"))
    assert tracker.take_completed() == []
    assert tracker.sequence_tags([lineage(3, fork="g.y")]) == {}


def test_numbers_on_which_items_disagree_are_erased() -> None:
    tracker = LineageTracker({"f.x": 2, "g.y": 1})
    assert tracker.sequence_tags([lineage(3), None, Lineage({"f.x": 3, "g.y": 1})]) == {"f.x": 3, "g.y": 1}
    assert tracker.sequence_tags([lineage(3), Lineage({"f.x": 4, "g.y": 1}), lineage(3)]) == {"g.y": 1}


def test_what_is_never_done_with_is_forgotten_past_a_bound() -> None:
    tracker = LineageTracker({"f.x": 1}, max_open=10)
    for number in range(1000):
        tracker.took(lineage(number, "f.x"))
    for number in range(1000):
        tracker.finished(lineage(number))
    assert tracker.take_completed() == [("f.x", number) for number in range(990, 1000)]


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=20))
def test_each_number_is_completed_once_and_not_before_its_last_item(items: list[tuple[int, int]]) -> None:
    """Items of two lanes, each of which reports the completion of a number with its last item, or without an item."""
    tracker = LineageTracker({"f.x": 2})
    left = Counter(items)
    open_items: list[int] = []
    closed: list[tuple[str, int]] = []
    expected: set[int] = set()
    lanes_done: Counter[int] = Counter()
    for number, lane in items:
        left[number, lane] -= 1
        last = not left[number, lane]
        tracker.took(lineage(number, *(["f.x"] if last else [])))
        open_items.append(number)
        lanes_done[number] += last
        if last and not any(one == (number, 1 - lane) for one in items):
            tracker.took(lineage(number, "f.x"), valued=False)
            lanes_done[number] += 1
        if len(open_items) > 2:
            tracker.finished(lineage(open_items.pop(0)))
        expected = {one for one, done in lanes_done.items() if done == 2 and one not in open_items}
        closed += tracker.take_completed()
        assert {one for _, one in closed} == expected
    for number in open_items:
        tracker.finished(lineage(number))
    closed += tracker.take_completed()
    assert sorted(number for _, number in closed) == sorted({number for number, _ in items})


def test_only_numbers_that_come_and_go_are_kept() -> None:
    assert tracker_of([["f.x"], ["g.y"]], [["h.z"], []]) is None
    tracker = tracker_of([["f.x", "g.y"], ["f.x"]], [["f.x", "h.z"]])
    assert tracker is not None
    tracker.took(Lineage({"f.x": 1, "g.y": 1}, frozenset({"f.x", "g.y"})))
    tracker.finished(Lineage({"f.x": 1, "g.y": 1}))
    assert tracker.take_completed() == []  # the other lane of f.x may still have some
    tracker.took(lineage(1, "f.x"), valued=False)
    assert tracker.take_completed() == [("f.x", 1)]


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from(["f", "g", "h"]), st.integers(0, 5)), unique=True))
def test_portions_hold_each_number_once(numbers: list[tuple[str, int]]) -> None:
    portions = one_of_each_fork(numbers)
    assert sorted(pair for portion in portions for pair in portion.items()) == sorted(numbers)
    assert len(portions) == max(Counter(fork for fork, _ in numbers).values(), default=0)


def test_a_fork_numbers_its_items_and_each_is_the_last_of_its_number() -> None:
    numbers = LaneTags("f.x", {"e1": ["f.x"], "e2": ["f.x", "g.y"]})
    for count in range(2):
        sent = numbers.envelopes(None, Lineage({"g.y": 7, "h.z": 1}), valued=True)
        assert sent[""] is None
        assert sent["e1"] == Envelope(lineage=lineage(count, "f.x"))
        assert sent["e2"] == Envelope(lineage=Lineage({"f.x": count, "g.y": 7}, frozenset({"f.x"})))
    end = numbers.envelopes(Envelope(group=Group("g", 1, True)), None, valued=False)
    assert end == dict.fromkeys(["", "e1", "e2"], Envelope(group=Group("g", 1, True)))


class Laid:
    """An output "n.out" with lanes, by name, and what arrives on them."""

    def __init__(self, **lanes: list[str]) -> None:
        self.inbox = Inbox(lanes)
        senders = [MemorySender(self.inbox.add_edge(name, name)) for name in lanes]
        forks = {name: forks for name, forks in lanes.items() if forks}
        self.outputs = Outputs("n", {"out": OutputLanes("n.out", LaneType.TEXT, senders, forks)})

    def taken(self, name: str) -> list[tuple[object, Lineage | None]]:
        port = self.inbox.port(name)
        items = [port.take() for _ in range(len(port.entries))]
        return [(item.value, lineage_of(item)) for item in items]


async def test_only_lanes_that_lead_to_a_join_carry_numbers() -> None:
    laid = Laid(numbered=["n.out"], plain=[])
    assert await laid.outputs.emit("out", "a", Envelope(metadata={"k": "v"}))
    assert await laid.outputs.emit("out", "b")
    assert laid.taken("numbered") == [
        ("a", lineage(0, "n.out", fork="n.out")),
        ("b", lineage(1, "n.out", fork="n.out")),
    ]
    assert laid.taken("plain") == [("a", None), ("b", None)]


async def test_run_reports_the_item_of_a_value_and_its_completion() -> None:
    laid = Laid(on=["f.x"], off=[])
    outputs = laid.outputs
    outputs.tracker = LineageTracker({"f.x": 1})
    items = [Item(f"t{number}", 2, Envelope(lineage=lineage(number, "f.x"))) for number in range(3)]
    for item in items:
        outputs.tracker.took(lineage_of(item))
    outputs.descent = lineage(2)
    await outputs.emit("out", "last")
    await outputs.emit("out", "named", source=items[0])
    await outputs.emit("out", "enveloped", items[1].envelope)
    await outputs.emit("out", "of nothing", source=Item("x", 1))
    await outputs.done_with(items[0])
    assert laid.taken("on") == [
        ("last", lineage(2)),
        ("named", lineage(0)),
        ("enveloped", lineage(1)),
        ("of nothing", None),
        (ABSENT, lineage(0, "f.x")),
    ]
    assert laid.taken("off") == [(value, None) for value in ("last", "named", "enveloped", "of nothing")]


async def test_completed_outputs_are_not_completed_again() -> None:
    laid = Laid(on=["f.x", "g.y"])
    await laid.outputs.emit_completion([("f.x", 1), ("g.y", 5), ("h.z", 1), ("f.x", 2)], {"out": [("f.x", 2)]})
    assert laid.taken("on") == [(ABSENT, Lineage({"f.x": 1, "g.y": 5}, frozenset({"f.x", "g.y"})))]
    await laid.outputs.complete("out")
    await laid.outputs.emit_completion([("f.x", 3)])
    assert laid.taken("on") == []


@pytest.mark.parametrize("lanes", [1, 2])
async def test_lanes_without_forks_are_as_they_were(lanes: int) -> None:
    """What is on no path to a join pays nothing for it: a single lane is still offered to directly, without an envelope."""
    laid = Laid(**{f"lane{index}": [] for index in range(lanes)})
    assert laid.outputs.put("out", "a") is (lanes == 1)
    assert await laid.outputs.emit("out", "b", source=Item("x", 1, Envelope(lineage=lineage(1))))
    assert laid.taken("lane0")[-1] == ("b", None)
