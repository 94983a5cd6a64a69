"""Nodes that select, change and route items by expressions, and by the choice of a model."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Answer, Document, Image, LanemeshError, Question
from lanemesh.testing import run_node
from lanemesh_services.flow.conditions import Filter, Map
from lanemesh_services.flow.expressions import MAX_EXPRESSION
from lanemesh_services.flow.switch import Switch

CASES = {"short": "size(text) < 5", "asks": "text.endsWith('?')"}


def test_happy_a_filter_passes_on_what_fits_on_any_lane() -> None:
    assert run_node(Filter, config={"when": "size(text) > 2"}, item=["a", "bcd"]).kept == ["bcd"]
    documents = [Document("a", source="x"), Document("b", source="y", metadata={"page": 3})]
    assert run_node(Filter, config={"when": 'item.source == "y"'}, item=documents).kept == [documents[1]]
    found = run_node(Filter, config={"when": "has(item.metadata.page)"}, item=documents)
    assert found.kept == [documents[1]]
    images = [Image("image/png", b"x" * 100, width=10), Image("image/png", b"x")]
    assert run_node(Filter, config={"when": "has(item.width) && item.content > 50"}, item=images).kept == images[:1]


def test_happy_a_filter_gets_whole_answers() -> None:
    whole = Answer("yes, gladly", finish_reason="stop")
    assert run_node(Filter, config={"when": 'lane == "answer" && text.contains("glad")'}, item=[whole]).kept == [whole]


@pytest.mark.parametrize(
    ("expression", "data", "text"),
    [
        ("{'n': size(text), 'u': text.upperAscii()}", {"n": 2, "u": "AB"}, '{"n": 2, "u": "AB"}'),
        ("text + '!'", "ab!", "ab!"),
        ("[1, 2.5, true, null]", [1, 2.5, True, None], "[1, 2.5, true, null]"),
        ("text.replace('a', 'x').trim().split('b')", ["x", ""], '["x", ""]'),
        ("['p', text].join('-')", "p-ab", "p-ab"),
        ("null", None, "null"),
    ],
)
def test_happy_a_map_makes_data_and_text(expression: str, data: Any, text: str) -> None:
    result = run_node(Map, config={"to": expression}, item="ab")
    assert (result.data, result.text) == ([data], [text])


def test_happy_a_switch_has_an_output_for_each_case() -> None:
    result = run_node(Switch, config={"cases": CASES}, item=[Question(text) for text in ("hi?", "really?", "really")])
    assert (result.short, result.asks, result.otherwise) == (
        [Question("hi?")],
        [Question("really?")],
        [Question("really")],
    )


def test_happy_a_model_chooses_the_case() -> None:
    config = {"by": "model", "cases": {"billing": "invoices", "tech": "faults of machines"}}
    replies = ["billing", '{"case": "Tech"}', "**otherwise**", "no idea"]
    result = run_node(Switch, config=config, item=list("abcd"), llm=replies)
    assert (result.billing, result.tech, result.otherwise) == (["a"], ["b"], ["c", "d"])


def test_error_a_switch_by_model_without_one() -> None:
    with pytest.raises(LanemeshError, match=r'config\.by is "model", but no model is connected\. Add "control"'):
        run_node(Switch, config={"by": "model", "cases": {"a": "x"}}, item="x")


def test_error_settings_of_a_switch() -> None:
    with pytest.raises(LanemeshError, match="has the case otherwise"):
        run_node(Switch, config={"cases": {"otherwise": "true"}}, item="x")
    with pytest.raises(ValueError, match="should match pattern"):
        run_node(Switch, config={"cases": {"not a name": "true"}}, item="x")


@pytest.mark.parametrize(
    ("expression", "reason", "said"),
    [
        ("size(text) >", "bad-expression", "is not CEL, near line 1"),
        ("a" * (MAX_EXPRESSION - 3) + " ==", "bad-expression", "is not CEL"),
        (
            "[1].exists(x, [1].exists(y, [1].exists(z, true)))",
            "bad-expression",
            "3 macros within each other. At most 2",
        ),
        (
            "text",
            "expression-failed",
            "fails for the text \"abc\": its value is 'abc', but a condition is true or false",
        ),
        ("size(txt) > 1", "expression-failed", "undeclared reference to 'txt"),
        ("item.size > 1", "expression-failed", 'fails for the text "abc"'),
        ("dyn()", "expression-failed", "IndexError"),
        ("1/0 == 1", "expression-failed", "divide by zero"),
        ("9223372036854775807 + 1 > 0", "expression-failed", "overflow"),
    ],
)
def test_error_expressions(expression: str, reason: str, said: str) -> None:
    with pytest.raises(LanemeshError) as error:
        run_node(Filter, config={"when": expression}, item="abc")
    assert error.value.fault.reason == reason
    assert said in error.value.fault.message


def test_error_an_item_that_has_no_value_is_skipped_and_named() -> None:
    documents = [Document("a", source="a.txt"), Document("b", source="b.txt", score=1.0)]
    result = run_node(Filter, config={"when": "item.score > 0.5"}, item=documents, on_error="skip")
    assert (result.kept, result.skipped) == (documents[1:], 1)
    with pytest.raises(LanemeshError, match=r"fails for the document of a\.txt: no such member in mapping: 'score"):
        run_node(Filter, config={"when": "item.score > 0.5"}, item=documents)


def test_happy_only_what_an_expression_names_counts() -> None:
    table = [["x" * 100] * 1_000]
    assert run_node(Filter, config={"when": "lane == 'list'"}, arrivals=[("item", table)]).kept == [table]
    big = [Image("image/png", b"x" * 1_000_000)]
    assert run_node(Filter, config={"when": "item.content == 1000000"}, item=big).kept == big


def test_error_regular_expressions_take_linear_time() -> None:
    assert run_node(Filter, config={"when": "text.matches('(a+)+$')"}, item=["a" * 5_000 + "!"]).kept == []


def test_error_a_text_that_replacement_would_make_too_long() -> None:
    with pytest.raises(LanemeshError, match="`replace` would make a text of more than"):
        run_node(Map, config={"to": f"text.replace('a', '{'b' * 1_000}')"}, item="a" * 2_000)
