"""What filters mean, and how rankings are joined: the parts of searches without a store."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Document
from lanemesh_services.search.filters import matches, parse_filter
from lanemesh_services.search.store import fused, identified, ordered
from lanemesh_services.search.words import query_words

DOCUMENT = Document(
    "x",
    id="7",
    source="a.txt",
    chunk_index=3,
    metadata={
        "language": "en",
        "page": 2,
        "tags": ["a", "b"],
        "draft": True,
        "empty": [],
        "nothing": None,
        "object": {"part": "en"},
        "holes": [None],
        "nested": [["en"]],
    },
)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ({}, True),
        ({"language": "en"}, True),
        ({"language": "EN"}, False),
        ({"language": {"ne": "de"}}, True),
        ({"missing": {"ne": "de"}}, True),
        ({"page": 2.0}, True),
        ({"page": "2"}, False),
        ({"page": {"gt": 1, "lte": 2}}, True),
        ({"page": {"gt": 2}}, False),
        ({"language": {"gt": 1}}, False),
        ({"tags": "b"}, True),
        ({"tags": ["z", "a"]}, True),
        ({"tags": {"ne": "a"}}, False),
        ({"draft": True}, True),
        ({"draft": 1}, False),
        ({"draft": {"gte": 0}}, False),
        ({"page": True}, False),
        ({"empty": {"exists": True}}, False),
        ({"nothing": {"exists": False}}, True),
        ({"holes": {"exists": True}}, True),
        ({"holes": {"ne": "en"}}, True),
        ({"object": {"exists": True}}, True),
        ({"object": "en"}, False),
        ({"nested": {"exists": True}}, True),
        ({"nested": "en"}, False),
        ({"source": "a.txt", "id": "7", "chunk_index": {"gte": 3}}, True),
        ({"language": "en", "page": 3}, False),
    ],
)
def test_happy_conditions_are_met_or_not(raw: dict[str, Any], wanted: bool) -> None:
    assert matches(parse_filter(raw), DOCUMENT) is wanted


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"": 1}, "is empty, too long"),
        ({"a": {}}, "is empty"),
        ({"a": None}, "needs a text, a truth value or a number"),
        ({"a": {"like": "x"}}, "is not one of eq"),
        ({"a": 2**63}, "or a number of at most 64 bits"),
        ({"a": {"lt": -(2**63) - 1}}, "needs a number of at most 64 bits"),
        ({"a": {"lt": float("inf")}}, "needs a number of at most 64 bits"),
        ({"a": [1, 2**64]}, "or numbers of at most 64 bits"),
        ({"a": {"exists": 1}}, "needs true or false"),
        ({"a": [1, None]}, "needs a list, not empty, of texts"),
        ({"a": list(range(2_000))}, "the limit is 1,000"),
        ({str(n): n for n in range(40)}, "it has 40 conditions; the limit is 32"),
    ],
)
def test_error_other_forms_are_refused_with_their_key(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_filter(raw)


def found(*names: str) -> list[Document]:
    """Documents in the order of a ranking."""
    return [identified(Document(name, source=name, score=1 - n / 10)) for n, name in enumerate(names)]


def test_happy_what_is_high_in_both_rankings_comes_first() -> None:
    joined = fused([found("a", "b", "c"), found("c", "b", "d")], limit=3)
    assert {document.content for document in joined[:2]} == {"b", "c"}
    assert len(joined) == 3
    (both,) = fused([found("a"), found("a")], limit=5)
    assert both.score == pytest.approx(1.0)
    assert fused([[], []], limit=5) == []


def test_equal_scores_have_one_order() -> None:
    equal = [identified(Document(name, source=name, score=0.5)) for name in "abcdef"]
    assert ordered(equal) == ordered(equal[::-1])


def test_words_of_queries_are_those_that_matter() -> None:
    assert query_words("When does the FERRY to the island leave? The ferry!") == ["ferry", "island", "leave"]
    assert query_words("who is it") == ["who", "is", "it"]
    assert query_words("?!") == []
    assert len(query_words(" ".join(map(str, range(1_000))))) == 64
