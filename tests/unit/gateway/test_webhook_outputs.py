"""The outputs of a run as the answer of a webhook."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from lanemesh.client.updates import OutputUpdate
from lanemesh.items import Group
from lanemesh.values import Audio, Document, Question, Table, Tags
from lanemesh_orchestrator.gateway.webhooks.outputs import Delivered, Whole, component_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Unread(list[Whole]):
    """A list whose entries no one looks at."""

    def __iter__(self) -> Iterator[Whole]:
        raise AssertionError

    def __reversed__(self) -> Iterator[Whole]:
        raise AssertionError


def output(lane: str, value: Any, group: Group | None = None) -> OutputUpdate:
    return OutputUpdate(sequence=1, time=NOW, component="out", port=lane, lane=lane, value=value, group=group)


def answered(lane: str, *values: Any) -> Any:
    """The JSON of the values of one group."""
    delivered = Delivered(10_000, "")
    for index, value in enumerate(values):
        delivered.add(output(lane, value, Group("words", index, index == len(values) - 1)))
    return component_json(delivered.targets["out"])


@pytest.mark.parametrize(
    ("lane", "values"),
    [
        ("data", [{"piece": "one"}, {"piece": "two"}, {"piece": "three"}]),
        ("table", [Table(("a",), ((1,),)), Table(("a",), ((2,),))]),
        ("tags", [Tags({"a": 1}), Tags({"a": 2})]),
        ("questions", [Question("why?"), Question("how?")]),
    ],
)
def test_each_value_of_a_group_is_answered_if_its_lane_has_no_pieces(lane: str, values: list[Any]) -> None:
    found = answered(lane, *values)
    assert len(found) == len(values)
    assert len({str(one) for one in found}) == len(values)


def test_the_pieces_of_a_value_are_one() -> None:
    assert answered("text", "one ", "two") == "one two"
    assert answered("documents", Document("one "), Document("two"))["content"] == "one two"
    assert answered("audio", Audio("audio/wav", b"ab"), Audio("audio/wav", b"cd"))["bytes"] == 4


@pytest.mark.parametrize("grouped", [False, True])
def test_no_value_before_another_is_looked_at(grouped: bool) -> None:
    delivered = Delivered(10_000, "", targets={"out": Unread()})
    for number in range(100):
        delivered.add(
            output("text", "x", Group(f"group-{number % 10}", number // 10, number > 89) if grouped else None)
        )
    assert len(delivered.targets["out"]) == (10 if grouped else 100)
