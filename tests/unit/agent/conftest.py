"""An agent with a scripted model and tools, all in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from lanemesh.chat import ChatEvent, ChatFinish, ChatRequest, ChatText, ToolProgress, ToolResult
from lanemesh.control.ends import wire_optional
from lanemesh.control.instance import HelperInstance
from lanemesh.control.links import LocalLink
from lanemesh.control.llm import LinkedLlm
from lanemesh.control.tools import LinkedTools, ToolSet
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.v1 import update_pb2
from lanemesh.values import Answer, Image, Question, ToolCall, ToolSpec, Usage
from lanemesh_services.agent.wave import AgentWave

PICTURE = Image("image/png", b"a picture", width=2, height=1)
"""What the tool draw returns."""

Turn = Sequence[str | tuple[str, str] | Exception]
"""Pieces of a turn in order: texts, calls as (name, arguments), and an exception that breaks it."""


class Model(Node):
    """A model whose turns are pieces in any order; it repeats the last turn."""

    offers: ClassVar = ("llm",)
    turns: Sequence[Turn]
    requests: list[ChatRequest]

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        turn = self.turns[min(len(self.requests), len(self.turns) - 1)]
        self.requests.append(request)
        reason = "stop"
        for piece in turn:
            if isinstance(piece, str):
                yield ChatText(piece)
            elif isinstance(piece, Exception):
                raise piece
            else:
                reason = "tool_calls"
                yield ToolCall("", *piece)
        yield Usage(10, len(turn))
        yield ChatFinish(reason)


class Bench(Node):
    """Tools: add sums, fail fails, meet waits for another meet at the same time, hang waits for ever, long talks, draw draws."""

    offers: ClassVar = ("tool",)
    barrier: asyncio.Barrier
    hanging: asyncio.Event
    ended: list[str]

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        return [ToolSpec(name) for name in ("add", "fail", "meet", "hang", "long", "draw")]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncIterator[ToolProgress | ToolResult]:
        content = "3"
        try:
            yield ToolProgress("on it")
            match call.name:
                case "fail":
                    raise ValueError("out of numbers")
                case "meet":
                    await self.barrier.wait()
                case "hang":
                    self.hanging.set()
                    await asyncio.Event().wait()
                case "long":
                    content = '"' + "x" * 1_000 + '"'
            yield ToolResult(content, parts=(PICTURE,) if call.name == "draw" else ())
        finally:
            self.ended.append(call.name)


@dataclass
class Agent:
    """One agent under test."""

    node: Any
    context: Context
    model: Any
    bench: Any
    events: list[Any] = field(default_factory=list)
    """What became visible, in order: answers, and ("thought" | "call" | "progress" | "result", wave, what)."""

    async def ask(self, question: Question | str = "What is 1 + 2?") -> str:
        """Asks and returns the whole answer."""
        self.node.questions = Question(question) if isinstance(question, str) else question
        whole, text = "", ""
        async with aclosing(self.node.gen_process(self.context)) as pairs:
            async for port, value in pairs:
                if port == "answers":
                    whole += value.text
                    self.events.append(value)
                else:
                    text += value
        assert text == whole
        return whole

    @property
    def last(self) -> Answer:
        """The last piece of the answer."""
        last = self.events[-1]
        assert isinstance(last, Answer)
        return last

    def seen(self, kind: str) -> list[Any]:
        """The contents of the updates of one kind."""
        return [event[2] for event in self.events if isinstance(event, tuple) and event[0] == kind]


MakeAgent = Callable[..., Agent]


@pytest.fixture
def make_agent() -> MakeAgent:
    """Makes an agent over the turns of a model; `tools=False` for one without tools; further arguments are its config."""

    def make(turns: Sequence[Turn], *, tools: bool = True, **config: Any) -> Agent:
        async def report(update: update_pb2.Update) -> None:
            kind = update.tool.WhichOneof("event")
            assert kind is not None
            agent.events.append((kind, update.tool.wave, getattr(update.tool, kind)))

        def context(component: str) -> Context:
            return Context(run_id="r", component=component, provider=component, report=report)

        node: Any = AgentWave()
        node.config = AgentWave.Config(**config)
        model: Any = Model()
        model.turns, model.requests = turns, []
        bench: Any = Bench()
        bench.barrier, bench.hanging, bench.ended = asyncio.Barrier(2), asyncio.Event(), []
        own = context("agent_1")
        models = LocalLink(HELPER_KINDS["llm"], HelperInstance(model, context("llm_1")), invoker="agent_1")
        wire_optional(AgentWave, own)
        own.wire("llm", [("", LinkedLlm(models))])
        if tools:
            benches = LocalLink(HELPER_KINDS["tool"], HelperInstance(bench, context("tool_1")), invoker="agent_1")
            own.wire("tool", (), ToolSet([LinkedTools(benches)]))
        agent = Agent(node, own, model, bench)
        return agent

    return make
