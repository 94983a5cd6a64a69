"""Tool calls by JSON, for models without tool calls of their own: the schema of a turn, and its reading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanemesh import ToolCall, ToolSpec

_EXPLANATION = """You can call tools. Answer with one JSON object and nothing else:
{{"thought": "...", "calls": [{{"tool": "NAME", "arguments": {{...}}}}], "answer": "..."}}
Put the calls that you want to make now into `calls`, and leave `answer` empty; their results come in the next message. When you
know enough, leave `calls` empty and put the answer into `answer`. The tools, with the JSON schemas of their arguments:
{tools}"""


@dataclass(slots=True)
class JsonTurn:
    """A turn of the model that was read from JSON."""

    thought: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    answer: str = ""
    problem: str = ""
    """Why it could not be read; empty if it could."""


def explanation(tools: Sequence[ToolSpec]) -> str:
    """How the model calls tools, for the system message."""
    lines = [
        json.dumps(
            {"tool": tool.name, "description": tool.description, "arguments": tool.parameters}, ensure_ascii=False
        )
        for tool in tools
    ]
    return _EXPLANATION.format(tools="\n".join(lines))


def turn_schema(tools: Sequence[ToolSpec], max_calls: int, *, whole: bool = True) -> dict[str, Any]:
    """The schema of a turn. `whole`: with the schemas of the arguments, except those that refer to parts of themselves."""
    calls = [_call_schema(tool, whole=whole) for tool in tools]
    return {
        "type": "object",
        "properties": {
            "thought": {"type": "string"},
            "calls": {
                "type": "array",
                "maxItems": max_calls,
                "items": calls[0] if len(calls) == 1 else {"anyOf": calls},
            },
            "answer": {"type": "string"},
        },
        "required": ["thought", "calls", "answer"],
        "additionalProperties": False,
    }


def read_turn(text: str) -> JsonTurn:
    """Reads a whole turn. A text that is not JSON is an answer, unless it looks like the beginning of JSON."""
    try:
        value = json.loads(_unfenced(text))
        json.dumps(value, ensure_ascii=False).encode()  # raises ValueError for characters that are not valid Unicode
    except (ValueError, RecursionError) as error:
        if "{" not in text[:200]:
            return JsonTurn(answer=text)
        return JsonTurn(problem=f"it is not JSON ({error})"[:300])
    if not isinstance(value, dict):
        return JsonTurn(problem="it is not a JSON object")
    calls = value.get("calls") or []
    if not isinstance(calls, list) or not all(
        isinstance(call, dict) and isinstance(call.get("tool"), str) for call in calls
    ):
        return JsonTurn(problem='`calls` is not a list of objects with "tool" and "arguments"')
    made = [ToolCall("", call["tool"], _arguments(call.get("arguments"))) for call in calls]
    answer = value.get("answer")
    written = answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer, ensure_ascii=False)
    return JsonTurn(str(value.get("thought") or ""), made, written)


class AnswerReader:
    """Reads the answer out of a turn that arrives in pieces, so that it can be streamed."""

    def __init__(self) -> None:
        self.sent = ""
        """The answer so far."""
        self._text = ""

    def push(self, piece: str) -> str:
        """Adds a piece; returns the new text of the answer."""
        self._text += piece
        if '"answer"' not in self._text or not self._text.lstrip().startswith("{"):
            return ""
        from pydantic_core import from_json

        try:
            value = from_json(self._text, allow_partial="trailing-strings")
        except ValueError:
            return ""
        answer = (
            value.get("answer") if isinstance(value, dict) and not value.get("calls") and "calls" in value else None
        )
        if not isinstance(answer, str) or not answer.startswith(self.sent):
            return ""
        new, self.sent = answer[len(self.sent) :], answer
        return new


def _call_schema(tool: ToolSpec, *, whole: bool) -> dict[str, Any]:
    parameters: Mapping[str, Any] = {"type": "object"}
    if whole and tool.parameters and "$ref" not in json.dumps(tool.parameters):
        parameters = tool.parameters
    return {
        "type": "object",
        "properties": {"tool": {"const": tool.name}, "arguments": json.loads(json.dumps(parameters))},
        "required": ["tool", "arguments"],
        "additionalProperties": False,
    }


def _arguments(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps({} if given is None else given, ensure_ascii=False)


def _unfenced(text: str) -> str:
    """JSON without the Markdown fence that some models put around it."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```"):
        return stripped[3:-3].removeprefix("json").strip()
    return stripped
