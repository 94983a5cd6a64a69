"""Conversations of many messages, which cost time in proportion to their number."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from ag_ui.core import RunAgentInput
from lanemesh import Message
from lanemesh_orchestrator.gateway.agui.conversation import conversation_of
from lanemesh_orchestrator.gateway.openai.response_request import ResponseRequest
from lanemesh_orchestrator.sessions.conversation import consistent


def join_split_turns(count: int) -> Callable[[], object]:
    turn = {"id": "a", "role": "assistant", "content": "x" * 500}
    given = RunAgentInput.model_validate(
        {"threadId": "t", "runId": "r", "messages": [turn] * count + [{"id": "u", "role": "user", "content": "y"}]}
    )
    return lambda: conversation_of(given)


def join_calls(count: int) -> Callable[[], object]:
    calls = [{"type": "function_call", "call_id": f"{n}", "name": "f", "arguments": "{}"} for n in range(count)]
    given = ResponseRequest.model_validate({"model": "m", "input": calls})
    return given.conversation_of


def filter_history(count: int) -> Callable[[], object]:
    messages = [Message("user", "x")] * count
    return lambda: consistent(messages)


def seconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(3):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize(("make", "count"), [(join_split_turns, 400), (join_calls, 400), (filter_history, 4_000)])
def test_the_time_grows_with_the_number_of_messages(make: Callable[[int], Callable[[], object]], count: int) -> None:
    assert seconds(make(10 * count)) < 30 * seconds(make(count))
