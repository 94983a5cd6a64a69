"""Nodes that collect, pace, sort and select items."""

from __future__ import annotations

import time
from typing import Any

import pytest
from lanemesh import Document, LanemeshError
from lanemesh.testing import run_node
from lanemesh_services.flow import pacing
from lanemesh_services.flow.dedupe import Dedupe
from lanemesh_services.flow.lists import BatchItems, Unbatch
from lanemesh_services.flow.pacing import SortWindow, Throttle


def test_happy_lists_of_a_size_and_the_rest_at_the_end() -> None:
    assert run_node(BatchItems, config={"max": 2}, item=list("abc")).data == [["a", "b"], ["c"]]
    assert run_node(BatchItems, item=[]).data == []
    (found,) = run_node(BatchItems, item=[Document("a", source="x", metadata={"page": 1})]).data
    assert found == [{"content": "a", "id": "", "source": "x", "metadata": {"page": 1}}]


def test_happy_a_list_is_sent_when_its_time_has_passed() -> None:
    result = run_node(BatchItems, config={"max": 1_000, "within": 0.01}, item=list("ab"))
    assert [element for found in result.data for element in found] == ["a", "b"]


def test_happy_a_list_is_taken_apart() -> None:
    result = run_node(Unbatch, arrivals=[("items", ["a", 1, {"b": None}]), ("items", [])])
    assert result.data == ["a", 1, {"b": None}]
    assert result.text == ["a", "1", '{"b": null}']


def test_happy_surplus_items_wait_or_are_dropped() -> None:
    begun = time.monotonic()
    result = run_node(Throttle, config={"items": 2, "seconds": 0.05}, item=list("abcde"))
    assert result.passed == list("abcde")
    assert time.monotonic() - begun >= 0.1
    drops = run_node(Throttle, config={"items": 2, "seconds": 3_600, "surplus": "drop"}, item=list("abcde"))
    assert drops.passed == ["a", "b"]


def test_happy_repeated_items_are_dropped() -> None:
    assert run_node(Dedupe, item=list("abacb")).first == list("abc")
    assert run_node(Dedupe, config={"key": "size(text)"}, item=["a", "b", "cc"]).first == ["a", "cc"]
    same = [Document("x", metadata={"a": 1, "b": 2}), Document("x", metadata={"b": 2, "a": 1}), Document("x")]
    assert run_node(Dedupe, item=same).first == [same[0], same[2]]


def test_shutdown_the_memory_of_repeated_items_is_bounded() -> None:
    assert run_node(Dedupe, config={"remember": 2}, item=list("abca")).first == list("abca")
    assert run_node(Dedupe, config={"remember": 2}, item=list("abaca")).first == list("abc")


@pytest.mark.parametrize(
    ("config", "items", "expected"),
    [
        ({"by": "item", "size": 2}, [2, 1, 3, 5, 4], [1, 2, 3, 4, 5]),
        ({"by": "-item", "size": 10}, [1, 3, 2], [3, 2, 1]),
        ({"by": "item.k", "size": 10}, [{"k": 1, "n": 0}, {"k": 0}, {"k": 1, "n": 1}], None),
        ({"by": "item.k", "size": 10}, [{"k": "b"}, {"k": 1}, {"k": "c"}], None),
    ],
)
def test_happy_a_window_sorts_and_is_stable(config: dict[str, Any], items: list[Any], expected: Any) -> None:
    result = run_node(SortWindow, config=config, arrivals=[("item", item) for item in items])
    assert result.sorted == (expected or [items[1], items[0], items[2]])


def test_shutdown_a_window_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MAX_WINDOW_BYTES", 250)
    texts = [f"{number}{'x' * 100}" for number in (3, 2, 4, 1)]
    result = run_node(SortWindow, config={"by": "text", "size": 10}, item=texts)
    assert [text[0] for text in result.sorted] == ["2", "1", "3", "4"]


def test_error_a_key_that_cannot_be_sorted() -> None:
    with pytest.raises(LanemeshError, match="but a key is a number or a text"):
        run_node(SortWindow, config={"by": "item"}, arrivals=[("item", {"a": 1})])
