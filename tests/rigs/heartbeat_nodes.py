"""Helpers of every kind that tick, a node that calls them, and one for pipelines behind tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from lanemesh import AgentRequest, ChatRequest, Context, In, Invokes, Node, Out, ToolCall, node
from lanemesh.extend import to_json
from pydantic import BaseModel

from .heartbeats import beat


class BeatCaller(Node):
    """Calls its helper. The text is a folder for the ticks."""

    invokes: ClassVar = tuple(Invokes(kind, 0, None) for kind in ("llm", "tool", "memory", "agent"))
    text: In[str]
    out: Out[str]

    class Config(BaseModel):
        """Settings."""

        call: str
        """What is called: "llm", "agent", "memory get", "memory search", or "tool"."""
        tool: str = "beat"
        """The tool."""
        arguments: dict[str, Any] | None = None
        """Its arguments; None: the folder."""

    async def process(self, context: Context) -> dict[str, str]:
        match self.config.call:
            case "llm":
                await context.llm.chat(self.text)
            case "agent":
                await context.agents[0].run(self.text)
            case "memory get":
                await context.memory.get(self.text)
            case "memory search":
                _ = [entry async for entry in context.memory.search(self.text)]
            case _:
                given = {"folder": self.text} if self.config.arguments is None else self.config.arguments
                _ = [event async for event in context.tools.stream(ToolCall("1", self.config.tool, to_json(given)))]
        return {"out": ""}


class BeatLlm(Node):
    """A model that ticks."""

    offers: ClassVar = ("llm",)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[Any]:
        await beat(request.messages[-1].content)
        yield


class BeatAgent(Node):
    """An agent that ticks."""

    offers: ClassVar = ("agent",)

    async def run_agent(self, context: Context, request: AgentRequest) -> AsyncIterator[Any]:
        await beat(request.messages[-1].content)
        yield


class BeatMemory(Node):
    """A memory that ticks."""

    offers: ClassVar = ("memory",)

    async def put(self, context: Context, space: Any, entry: Any, ttl: float | None) -> bool:
        return False

    async def get(self, context: Context, space: Any, key: str) -> None:
        await beat(key)

    async def list(self, context: Context, space: Any, prefix: str, limit: int) -> AsyncIterator[Any]:
        return
        yield

    async def search(self, context: Context, space: Any, query: Any) -> AsyncIterator[Any]:
        await beat(query.text)
        yield

    async def clear(self, context: Context, space: Any, prefix: str) -> int:
        return 0


@node
async def beating(text: str) -> str:
    """Ticks."""
    return await beat(text)
