"""Budgets, repetitions, patterns, arguments and turns by JSON. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lanemesh import Question, ToolCall, ToolResult, ToolSpec, Usage
from lanemesh_services.agent.arguments import MAX_PROBLEMS, ArgumentSchemas, BadArguments, parse_arguments
from lanemesh_services.agent.budget import CallUsage, Spending
from lanemesh_services.agent.config import Budget
from lanemesh_services.agent.conversation import Conversation
from lanemesh_services.agent.json_calls import AnswerReader, read_turn
from lanemesh_services.agent.patterns import first_match, is_reference, matches, names_of
from lanemesh_services.agent.repeats import Repeats
from lanemesh_services.agent.result_store import ResultStore

from .conftest import PICTURE


@pytest.mark.parametrize(
    ("budget", "used_up"),
    [
        ({}, ""),
        ({"calls": 1}, "budget of 1 tool call"),
        ({"tokens": 5}, "budget of 5 tokens"),
        ({"seconds": 2}, "budget of 2 s"),
        ({"cost": 0.1}, "budget of 0.1 for the model"),
    ],
)
def test_a_budget_is_used_up(budget: dict[str, float], used_up: str) -> None:
    now = [0.0]
    spending = Spending(Budget.model_validate(budget), lambda: now[0])
    assert not spending.exhausted()
    spending.count(Usage(3, 2, 0.1))
    assert spending.take_call()
    now[0] = 2.0
    assert spending.exhausted() == used_up
    assert spending.take_call() == ("calls" not in budget)
    assert spending.usage == Usage(3, 2, 0.1, 1 if "calls" in budget else 2)


def test_a_call_counts_what_is_new_of_its_usage() -> None:
    spending = Spending(Budget.model_validate({"calls": 3, "cost": 0.5}))
    spending.count(Usage(1, 1))
    call = CallUsage(spending)
    for usage in (Usage(10, 5), Usage(20, 5, 0.25, 1), Usage(8, 8), Usage(20, 6, 0.5, 3)):
        call.reported(usage)
    CallUsage(spending).reported(Usage(0, 0, -1.0))  # a tool cannot give money back
    assert spending.usage == Usage(21, 9, 0.5, 3)
    assert spending.exhausted() == "budget of 3 tool calls"
    assert not spending.exceeded()
    call.reported(Usage(20, 6, 0.75, 3))
    assert spending.exceeded() == "budget of 0.5 for the model"


def test_repetitions_are_counted_by_tool_and_arguments() -> None:
    repeats = Repeats(2)
    assert [repeats.admit("a", {"x": 1, "y": 2}), repeats.admit("a", {"y": 2, "x": 1})] == [True, True]
    assert not repeats.admit("a", {"x": 1, "y": 2})
    assert repeats.admit("b", {"x": 1, "y": 2})
    for refused, stuck in ((1, False), (0, False), (1, False), (1, True)):
        repeats.note_wave(1, refused)
        assert repeats.stuck == stuck


def test_patterns_match_tools_helpers_and_both() -> None:
    names = names_of("get", "tool_http")
    for pattern in ("get", "tool_http", "tool_http.*", "*.get", "g?t"):
        assert matches(names, [pattern])
    assert not matches(names, ["tool_http.post", "tool"])
    assert first_match(names, {"post": "wait", "tool_*": "background"}, "wait") == "background"


@pytest.mark.parametrize(
    ("pattern", "reference"),
    [
        ("add", True),
        ("tool_htp.*", True),
        ("tool.add", True),
        ("delete_*", False),
        ("tool.delete_*", False),
        ("*.x", False),
    ],
)
def test_patterns_that_refer_to_a_certain_tool(pattern: str, reference: bool) -> None:
    assert is_reference(pattern, {"tool"}) == reference


def test_arguments_are_read_and_checked() -> None:
    assert parse_arguments("") == parse_arguments("null") == {}
    assert parse_arguments('"{\\"a\\": 1}"') == {"a": 1}
    spec = ToolSpec("add", "", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    schemas = ArgumentSchemas()
    assert schemas.checked(spec, {"a": 1}) == {"a": 1}
    with pytest.raises(BadArguments, match="at /a"):
        schemas.checked(spec, {"a": "one"})
    with pytest.raises(BadArguments, match="required"):
        schemas.checked(spec, {})
    odd = ToolSpec("odd", "", {"type": "no such type"})
    assert schemas.checked(odd, {"a": "one"}) == {"a": "one"}  # the tool itself checks


def test_an_agent_corrects_more_arguments_than_an_error_would_name() -> None:
    names = [f"a{number}" for number in range(2 * MAX_PROBLEMS)]
    spec = ToolSpec("add", "", {"type": "object", "properties": {name: {"type": "string"} for name in names}})
    assert ArgumentSchemas().checked(spec, dict.fromkeys(names)) == {}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"a": 1, "kind": None}, {"a": 1}),
        ({"a": 1, "kind": ""}, {"a": 1}),
        ({"a": 1, "tags": '["x"]'}, {"a": 1, "tags": ["x"]}),
        ({"a": 1, "tags": "[x"}, "at /tags"),
        ({"a": None}, "at /a"),
        ({"a": 1, "text": "", "more": '{"b": 2}'}, {"a": 1, "text": "", "more": '{"b": 2}'}),
    ],
)
def test_an_agent_corrects_the_arguments_that_tools_correct(given: dict[str, Any], taken: dict[str, Any] | str) -> None:
    text = {"type": "string"}
    types = {
        "a": {"type": "integer"},
        "kind": {"enum": ["day", "week"]},
        "tags": {"type": "array"},
        "text": text,
        "more": text,
    }
    spec = ToolSpec("add", "", {"type": "object", "properties": types, "required": ["a"]})
    if isinstance(taken, dict):
        assert ArgumentSchemas().checked(spec, given) == taken
    else:
        with pytest.raises(BadArguments, match=taken):
            ArgumentSchemas().checked(spec, given)


@pytest.mark.parametrize(
    ("text", "calls", "answer", "problem"),
    [
        ('{"calls": [{"tool": "a", "arguments": {"x": 1}}], "answer": ""}', [ToolCall("", "a", '{"x": 1}')], "", False),
        ('```json\n{"calls": [], "answer": "yes"}\n```', [], "yes", False),
        ("plain words", [], "plain words", False),
        ('{"calls": [', [], "", True),
        ('{"calls": [{"tool": 1}]}', [], "", True),
        ('["{"]', [], "", True),
    ],
)
def test_turns_by_json(text: str, calls: list[ToolCall], answer: str, problem: bool) -> None:
    turn = read_turn(text)
    assert (turn.calls, turn.answer, bool(turn.problem)) == (calls, answer, problem)


def test_the_answer_of_a_turn_by_json_streams() -> None:
    text = json.dumps({"thought": "", "calls": [], "answer": 'It is "three".'})
    reader = AnswerReader()
    pieces = [reader.push(character) for character in text]
    assert "".join(pieces) == 'It is "three".'
    assert sum(map(bool, pieces)) > 5


def test_old_results_become_summaries_when_the_context_is_full() -> None:
    store = ResultStore()
    conversation = Conversation(Question("Hi"), store=store, context_tokens=1_000, result_images=True)
    for wave in range(1, 5):
        conversation.add_turn("", [ToolCall(f"c{wave}", "read", "{}")])
        store.add(f"wave-{wave}.r1", json.dumps("x" * 1_500))
        conversation.add_result(
            ToolResult(json.dumps("x" * 1_500), f"c{wave}", "read", parts=(PICTURE,)), f"wave-{wave}.r1"
        )
    request = conversation.request(())
    results = [message.content for message in request.messages if message.role == "tool"]
    assert "x" * 1_500 in results[-1]
    assert len(results[0]) < 800
    assert [message.images for message in request.messages if message.role == "tool"][:: len(results) - 1] == [
        (),
        (PICTURE,),
    ]
    assert json.loads(results[0])["key"] == "wave-1.r1"
    assert conversation.has_summaries


@pytest.mark.parametrize("text", ['{"\\ud800": 1}', '{"n": "\\udfff"}'])
def test_arguments_that_are_not_unicode_are_refused(text: str) -> None:
    with pytest.raises(BadArguments):
        parse_arguments(text)


def test_a_turn_that_is_not_unicode_is_a_problem() -> None:
    assert read_turn('{"calls": [{"tool": "\\ud800", "arguments": {}}]}').problem


def test_patterns_match_a_tool_that_was_renamed_for_a_clash() -> None:
    assert matches(names_of("files_delete_file", "files"), ["delete_*"])
    assert matches(names_of("files_delete_file", "files"), ["files.delete_file"])
    assert not matches(names_of("files_read", "files"), ["delete_*"])
