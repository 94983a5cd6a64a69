"""Answers that end when the speaker begins to speak again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from lanemesh import (
    AgentEvent,
    AgentRequest,
    AgentThought,
    Answer,
    ChatFinish,
    ChatRequest,
    ChatText,
    Context,
    LanemeshError,
    Question,
    Usage,
)
from lanemesh.control.agent import AgentCaller
from lanemesh.extend import ChatClient
from lanemesh.testing import run_node
from lanemesh_services.llm.barge_in import BargeIn, Turns


class Endless(ChatClient):
    """A model whose answer to "tell" does not end."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = 0

    async def turn(self, request: ChatRequest) -> AsyncGenerator[Any, None]:
        """One turn."""
        self.asked.append(request.messages[-1].content)
        try:
            yield ChatText('{"a": 1}' if request.schema is not None else "Once ")
            if request.messages[-1].content == "tell":
                await asyncio.Event().wait()
            yield Usage(3, 1)
            yield ChatFinish("stop")
        finally:
            self.closed += 1


class Researcher(AgentCaller):
    """An agent that thinks, answers a word, and then does not end."""

    component = "researcher"

    def __init__(self) -> None:
        self.opened = self.closed = 0

    async def events(self, request: AgentRequest, timeout: float | None = None) -> AsyncGenerator[AgentEvent, None]:
        """The events of a task."""
        self.opened += 1
        try:
            yield AgentEvent(AgentThought("Let me see."))
            yield AgentEvent(Answer("Once "))
            await asyncio.Event().wait()
        finally:
            self.closed += 1


def mark(event: str) -> tuple[str, dict[str, Any]]:
    """A mark of `vad`."""
    return "interrupt", {"event": event, "utterance": 2, "time": 1.0}


def finishes(answers: list[Answer]) -> list[str]:
    """The finish reasons."""
    return [answer.finish_reason for answer in answers if answer.finish_reason]


@pytest.mark.parametrize("event", ["start", "stop"])
def test_the_model_stops_when_the_speaker_begins_again(event: str) -> None:
    model = Endless()
    arrivals = [("questions", Question("tell")), mark(event), mark("end"), ("questions", Question("short"))]

    result = run_node(BargeIn, llm=model, arrivals=arrivals, timeout=60)

    assert finishes(result.answers) == ["cancelled", "stop"]
    assert result.answers[-1].usage == Usage(3, 1)
    assert model.asked[-1] == "short"
    assert model.closed == len(model.asked)


async def test_a_mark_after_the_finish_reason_adds_no_second_one() -> None:
    context = Context(run_id="r", component="barge_in_1", provider="barge_in")
    context.wire("llm", [("", Endless())])
    node = BargeIn()
    node.resource, node.questions = Turns(), Question("short")
    finished: list[str] = []
    async for port, piece in node.gen_process(context):
        if port == "answers" and piece.finish_reason:
            finished.append(piece.finish_reason)
            node.resource.of(context).mark({"event": "start"})
    assert finished == ["stop"]


def test_nothing_is_answered_while_the_speaker_speaks() -> None:
    model = Endless()
    arrivals = [mark("start"), ("questions", Question("tell")), mark("end"), ("questions", Question("short"))]

    result = run_node(BargeIn, llm=model, arrivals=arrivals, concurrency=1, timeout=60)

    assert finishes(result.answers) == ["cancelled", "stop"]
    assert model.asked == ["short"]


def test_other_marks_are_ignored_and_an_agent_answers_too() -> None:
    arrivals: list[tuple[str, Any]] = [
        ("interrupt", None),
        ("interrupt", {"event": 3}),
        ("questions", Question("who?")),
    ]

    result = run_node(BargeIn, agents={"one": "An agent."}, arrivals=arrivals, timeout=60)

    assert "".join(answer.text for answer in result.answers) == "An agent."
    assert finishes(result.answers) == ["stop"]


def test_an_agent_stops_too() -> None:
    agent = Researcher()
    result = run_node(
        BargeIn, agents={"one": agent}, arrivals=[("questions", Question("tell")), mark("start")], timeout=60
    )
    assert finishes(result.answers) == ["cancelled"]
    assert agent.closed == agent.opened


def test_error_without_a_model_the_fault_has_the_remedy() -> None:
    with pytest.raises(LanemeshError, match='"classType": "llm"') as raised:
        run_node(BargeIn, questions=Question("who?"), timeout=60)
    assert raised.value.fault.reason == "model-not-connected"


def test_a_structured_answer_has_its_data() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    result = run_node(BargeIn, llm=Endless(), questions=Question("short", schema=schema), timeout=60)
    assert result.answers[-1].data == {"a": 1}
