"""A model, a tool, and a node that asks both, for the tests of what a run reports of its helpers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from lanemesh import Context, In, Invokes, Node, Out
from lanemesh.chat import ChatEvent, ChatFinish, ChatRequest, ChatText, ToolResult
from lanemesh.values import ToolCall, ToolSpec, Usage
from pydantic import BaseModel, SecretStr


class Teller(Node):
    """A model that repeats what it was asked; its answers cost tokens."""

    offers: ClassVar = ("llm",)

    class Config(BaseModel):
        key: SecretStr = SecretStr("")

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.messages[-1].content == "fail":
            raise ValueError("no answer")
        for word in request.messages[-1].content.split():
            yield ChatText(f"{word} ")
        yield Usage(5, 3)
        yield ChatFinish()


class Doubler(Node):
    """A tool that doubles a number."""

    offers: ClassVar = ("tool",)

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        return [ToolSpec("double", parameters={"type": "object"})]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncIterator[ToolResult]:
        yield ToolResult("42")


class SlowToLeave(Doubler):
    """A tool that goes on for a while after its result, also when its caller has left."""

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncIterator[ToolResult]:
        yield ToolResult("42")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)


class Consult(Node):
    """Asks its model what it is given, and its tool for the double of 21."""

    invokes: ClassVar = (Invokes("llm", 1, 1), Invokes("tool", 1, 1))

    text: In[str]
    said: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        reply = await context.llm.chat(self.text)
        return {"said": f"{reply.text}{await context.tools['double'](number=21)}"}
