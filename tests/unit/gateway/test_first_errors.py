"""However much of a request is wrong, few errors are collected, and few described."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh.items import LaneType
from lanemesh_orchestrator.first_errors import described
from lanemesh_orchestrator.gateway.agui.endpoint import AgentInput
from lanemesh_orchestrator.gateway.anthropic.message_request import MessageRequest
from lanemesh_orchestrator.gateway.invalid import invalid_fields
from lanemesh_orchestrator.gateway.openai.chat_request import ChatRequest
from lanemesh_orchestrator.gateway.openai.embeddings import EmbeddingRequest
from lanemesh_orchestrator.gateway.openai.response_request import ResponseRequest
from lanemesh_orchestrator.value_json import value_from_json
from pydantic import BaseModel, ValidationError

WRONG: list[Any] = [[]] * 10_000
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
AGENT: dict[str, Any] = {"threadId": "t", "runId": "r", "messages": []}


@pytest.mark.parametrize(
    ("model", "value", "place"),
    [
        (ChatRequest, {**CHAT, "messages": WRONG}, ("messages", 0)),
        (
            ChatRequest,
            {**CHAT, "messages": [{"role": "user", "content": WRONG}]},
            ("messages", 0, "user", "content", 0),
        ),
        (ChatRequest, {**CHAT, "modalities": WRONG}, ("modalities", 0)),
        (MessageRequest, {**CHAT, "max_tokens": 1, "messages": WRONG}, ("messages", 0)),
        (MessageRequest, {**CHAT, "max_tokens": 1, "stop_sequences": WRONG[:16]}, ("stop_sequences", 0)),
        (ResponseRequest, {"model": "m", "input": WRONG}, ("input", 0)),
        (EmbeddingRequest, {"model": "m", "input": WRONG[:2_000]}, ("input", 0)),
        (AgentInput, {**AGENT, "messages": WRONG}, ("messages", 0)),
        (AgentInput, {**AGENT, "tools": WRONG}, ("tools", 0)),
    ],
)
def test_of_a_list_the_first_wrong_entry_is_the_error(
    model: type[BaseModel], value: dict[str, Any], place: tuple[str | int, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    errors = described(caught.value)
    assert caught.value.error_count() == len(errors) <= 2  # a text or a list has one of each
    assert errors[0]["loc"] == place


@pytest.mark.parametrize(
    ("lane", "value"),
    [
        (LaneType.QUESTIONS, {"text": "", "embedding": WRONG}),
        (LaneType.QUESTIONS, {"text": "", "documents": [{"content": "", "embedding": WRONG}]}),
        (LaneType.TABLE, {"columns": WRONG}),
    ],
)
def test_so_it_is_with_the_values_of_lanes(lane: LaneType, value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        value_from_json(lane, value)
    assert caught.value.error_count() == 1


def test_many_unknown_fields_are_counted_and_not_described() -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**CHAT, **{f"x{number}": 0 for number in range(10_000)}})
    (error,) = invalid_fields(caught.value).errors
    assert (error.pointer, error.message) == ("", "it has 10,000 errors")
