"""What pipelines call a node type."""

from __future__ import annotations

from collections.abc import Iterator

from lanemesh.node.names import all_names, by_names, of_names
from lanemesh.v1 import node_pb2

TYPES = {
    "llm": node_pb2.Manifest(provider="llm", aliases=["llm_local", "chat"]),
    "chat": node_pb2.Manifest(provider="chat"),
}


class Guarded(dict[str, node_pb2.Manifest]):
    """Node types of which all are looked at only by who may."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError

    values = items = __iter__  # type: ignore[assignment]


def test_a_provider_is_found_without_a_look_at_the_others() -> None:
    assert by_names({"chat", "llm"}, Guarded(TYPES)) == TYPES


def test_an_alias_is_found_and_a_provider_goes_before_it() -> None:
    assert by_names({"llm_local", "chat", "none"}, TYPES) == {"llm_local": TYPES["llm"], "chat": TYPES["chat"]}


def test_a_node_type_of_two_names_is_listed_once() -> None:
    assert of_names({"llm_local", "llm", "chat"}, TYPES) == [TYPES["chat"], TYPES["llm"]]


def test_all_names() -> None:
    assert all_names(TYPES) == ["llm_local", "chat", "llm", "chat"]
