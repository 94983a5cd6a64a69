"""Turns a question into the conversation that a model is given: a pure function."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lanemesh import Document, Message, Question
from lanemesh.v1 import control_pb2, lane_pb2


def to_request(question: Question) -> control_pb2.GenerateRequest:
    """The request that asks a model this question, with the schema that the answer shall follow, and no sampling settings.

    One system message comes first, if there is anything to put in it: the instructions, then what the history says as
    "system", then the documents (many chat templates allow no second one). Examples follow as turns of user and assistant,
    then the rest of the history, then the question's text as the user's turn.
    """
    messages = []
    system = _system(question)
    if system:
        messages.append(lane_pb2.Message(role="system", content=system))
    for example in question.examples:
        messages.append(lane_pb2.Message(role="user", content=example.question))
        messages.append(lane_pb2.Message(role="assistant", content=example.answer))
    messages += [_turn(message) for message in question.history if message.role != "system"]
    messages.append(lane_pb2.Message(role="user", content=question.text))
    schema = "" if question.schema is None else json.dumps(_plain(question.schema), ensure_ascii=False)
    return control_pb2.GenerateRequest(messages=messages, schema_json=schema)


def _system(question: Question) -> str:
    parts = [question.instructions]
    parts += [message.content for message in question.history if message.role == "system"]
    if question.documents:
        parts.append(_documents(question.documents))
    return "\n\n".join(part for part in parts if part)


def _documents(documents: Iterable[Document]) -> str:
    told = ["Answer from these documents:"]
    for number, document in enumerate(documents, start=1):
        source = f" ({document.source})" if document.source else ""
        told.append(f"[{number}]{source}\n{document.content}")
    return "\n\n".join(told)


def _turn(message: Message) -> lane_pb2.Message:
    calls = [
        lane_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments) for call in message.tool_calls
    ]
    return lane_pb2.Message(
        role=message.role, content=message.content, tool_calls=calls, tool_call_id=message.tool_call_id
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def chat_messages(messages: Iterable[lane_pb2.Message]) -> list[dict[str, Any]]:
    """A conversation in the form that chat templates read: dicts with role, content and, where there are any, tool calls."""
    return [_chat_message(message) for message in messages]


def _chat_message(message: lane_pb2.Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    return turn
