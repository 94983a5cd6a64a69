"""Agents in Python for the tests of guests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from lanemesh import Answer, Context, Message, Question
from pydantic import BaseModel


async def loop(question: Question, context: Context) -> AsyncIterator[str]:
    """Calls tools as its model wants, and answers with the text of the last turn."""
    specs = await context.tools.specs()
    messages = [Message("user", question.text)]
    while True:
        reply = await context.llm.chat(messages, tools=specs)
        if not reply.tool_calls:
            yield reply.text
            return
        messages.append(Message("assistant", reply.text, reply.tool_calls))
        for call in reply.tool_calls:
            result = await context.tools[call.name](**json.loads(call.arguments))
            messages.append(Message("tool", str(result), tool_call_id=call.id))


async def returns_text(question: Question, context: Context) -> str:
    return f"{question.text}!"


def plain(question: Question, context: Context) -> str:
    return f"{question.text} from a thread"


def plain_pieces(question: Question, context: Context) -> Iterator[str]:
    yield question.text
    yield " in pieces"


async def answer(question: Question, context: Context) -> Answer:
    return Answer(text="cut", finish_reason="length")


class Verdict(BaseModel):
    good: bool


async def model(question: Question, context: Context) -> Verdict:
    return Verdict(good=True)


class Counter:
    """Counts its questions, as long as it is loaded."""

    def __init__(self) -> None:
        self.questions = 0

    async def __call__(self, question: Question, context: Context) -> dict[str, int]:
        self.questions += 1
        return {"questions": self.questions}


async def gives_up(question: Question, context: Context) -> str:
    """Leaves a call that takes too long."""
    try:
        async with asyncio.timeout(0.2):
            await context.tools["wait"](folder=question.text)
    except TimeoutError:
        pass
    return "gave up"


async def fails(question: Question, context: Context) -> str:
    raise RuntimeError("out of ideas")


async def returns_object(question: Question, context: Context) -> Any:
    return object()


def not_ready() -> None:
    """Has no parameters for the question."""


class Panics:
    """Cannot be made."""

    def __init__(self) -> None:
        raise SystemExit(3)
