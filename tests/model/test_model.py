"""The model of a lane holds in every order of its steps, and a model with a wrong rule does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.spin import MODEL, check, states, unreached

RULES, LANE = "lane_rules.pml", "lane.pml"

MUTANTS = {
    "the producer sends one item too many": (
        RULES,
        "IN_FLIGHT(p) + (n) <= p.limit",
        "IN_FLIGHT(p) + (n) <= p.limit + 1",
    ),
    "items are sent after the end": (RULES, "!p.stopped && !p.ended && p.outcome", "!p.stopped && p.outcome"),
    "credit for items that the node has not taken": (LANE, "CREDIT, c.taken, WINDOW", "CREDIT, c.arrived, WINDOW"),
    "credit for one item twice": (LANE, "CREDIT, c.taken, WINDOW", "CREDIT, c.taken + 1, WINDOW"),
    "no credit": (LANE, "c.taken > c.reported && c.ending", "false && c.ending"),
    "the consumer grants more than it has": (LANE, "ACCEPTED, WINDOW, 0", "ACCEPTED, WINDOW + 1, 0"),
    "the end is lost": (LANE, "end(p);\n            put(forward, END, p.sent, false)", "end(p)"),
    "the end is sent twice": (RULES, "(p.opened && !p.ended && p.outcome", "(p.opened && !p.half_closed && p.outcome"),
    "the end comes before the last item": (LANE, "(p.sent == N || p.stopped)", "(p.sent >= N - 1 || p.stopped)"),
    "the end has a wrong count": (LANE, "put(forward, END, p.sent, false)", "put(forward, END, p.sent + 1, false)"),
    "a frame is lost": (LANE, "put(forward, ITEMS, p.sent, 2);", "skip;"),
    "a frame is doubled": (LANE, "ITEMS, p.sent, 2);", "ITEMS, p.sent, 2); put(forward, ITEMS, p.sent, 2);"),
    "a fault looks like a clean end": (RULES, ":: fault -> finish(c, FAULT)", ":: fault -> finish(c, CLEAN)"),
    "a broken call is a clean end for the consumer": (
        RULES,
        "c.closed = true;\n    if\n    :: c.ending == NOT_YET -> finish(c, BROKEN)",
        "c.closed = true;\n    if\n    :: c.ending == NOT_YET -> finish(c, CLEAN)",
    ),
    "a broken call is a clean end for the producer": (RULES, "p.outcome = BROKEN", "p.outcome = CLEAN"),
    "a break after the end is another end": (
        RULES,
        "c.closed = true;\n    if\n    :: c.ending == NOT_YET -> finish",
        "c.closed = true;\n    if\n    :: true -> finish",
    ),
    "a producer that was stopped does not end": (LANE, "(p.sent == N || p.stopped)", "(p.sent == N)"),
    "the stop is not sent": (LANE, "MAY_STOP(c) ->", "false && MAY_STOP(c) ->"),
    "credit after the stop": (
        RULES,
        "c.accepted && !c.stop_sent && !c.closed && (items)",
        "c.accepted && !c.closed && (items)",
    ),
    "items after a stop wait for ever": (
        RULES,
        ":: c.stopped -> c.discarded = c.discarded + n",
        ":: c.stopped -> skip",
    ),
    "waiting items are lost with a stop": (RULES, "c.discarded = c.arrived - c.taken", "c.arrived = c.taken"),
    "the call ends before all items were taken": (
        RULES,
        "c.ending != NOT_YET && WAITING(c) == 0",
        "c.ending != NOT_YET",
    ),
    "the input ends before its lanes": (
        LANE,
        "number < PRODUCERS -> drained[number] -> number++",
        "number < PRODUCERS -> number++",
    ),
}
"""Wrong models: the file, the text that is replaced there, and what replaces it."""


def test_every_order_of_the_steps_keeps_the_rules(tmp_path: Path) -> None:
    assert check(tmp_path) == ""
    assert states(tmp_path) > 10_000
    assert unreached(tmp_path) == []


def test_every_lane_ends(tmp_path: Path) -> None:
    assert check(tmp_path, ltl=True) == ""


def test_a_window_of_one_item_and_one_of_many(tmp_path: Path) -> None:
    for window in (1, 5):
        assert check(tmp_path, defines=[f"WINDOW={window}"]) == ""


def test_one_lane_keeps_the_rules_without_partial_order_reduction(tmp_path: Path) -> None:
    assert check(tmp_path, defines=["PRODUCERS=1"], options=["-DNOREDUCE"]) == ""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_model_with_a_wrong_rule_is_found_out(name: str, tmp_path: Path) -> None:
    file, right, wrong = MUTANTS[name]
    for path in MODEL.glob("*.pml"):
        text = path.read_text()
        if path.name == file:
            assert text.count(right) == 1
            text = text.replace(right, wrong)
        (tmp_path / path.name).write_text(text)
    found = check(tmp_path, tmp_path, options=["-O0"])
    assert found.startswith(("assertion violated", "invalid end state")), found
