"""Nodes that use memories and agents, and one that has lanes and is a helper as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from lanemesh import AgentRequest, AgentThought, Answer, Context, In, Invokes, Node, Out
from pydantic import BaseModel, SecretStr


class Swap(Node):
    """Takes "SCOPE KEY VALUE": stores the value, and reports the earlier one and all keys. The key "@" is its own name."""

    invokes: ClassVar = (Invokes("memory"),)
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        scope, key, value = self.text.split()
        key = context.component if key == "@" else key
        memory = context.memory.space(scope)
        earlier = await memory.get(key)
        await memory.put(key, value)
        listed = [entry.key async for entry in memory.list()]
        return {"out": f"{earlier.value if earlier else None} {listed}"}


class Keyed(Node):
    """Has a key, which is a secret."""

    class Config(BaseModel):
        key: SecretStr

    text: In[str]

    async def process(self, context: Context) -> None:
        pass


class Loud(Node):
    """Writes each text in capitals, and is an agent that does the same; it counts both."""

    offers: ClassVar = ("agent",)
    text: In[str]
    out: Out[str]
    resource: dict[str, int]

    @classmethod
    async def load(cls, config: Any) -> dict[str, int]:
        return {"lane": 0, "agent": 0}

    async def process(self, context: Context) -> dict[str, str]:
        self.resource["lane"] += 1
        return {"out": f"lane {self.text.upper()}"}

    async def run_agent(self, context: Context, request: AgentRequest) -> AsyncIterator[Any]:
        self.resource["agent"] += 1
        yield AgentThought("capitals")
        yield Answer(f"agent {request.messages[-1].content.upper()}", finish_reason="stop")


class Asker(Node):
    """Asks each of its agents in turn."""

    invokes: ClassVar = (Invokes("agent", 1, None),)
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        replies = [await agent.run(self.text) for agent in context.agents]
        return {"out": " ".join(str(reply) for reply in replies)}


class Nesting(Node):
    """An agent that lets its own agent do the work."""

    offers: ClassVar = ("agent",)
    invokes: ClassVar = (Invokes("agent", 1, 1), Invokes("memory", 0, 1))

    async def run_agent(self, context: Context, request: AgentRequest) -> AsyncIterator[Any]:
        reply = await context.agents[0].run(request.messages)
        for memory in context.memories:
            await memory.put("task", request.messages[-1].content)
        yield Answer(f"[{reply}]", finish_reason="stop")


class Sleeper(Node):
    """An agent that never answers, and reports how it ended."""

    offers: ClassVar = ("agent",)

    async def run_agent(self, context: Context, request: AgentRequest) -> AsyncIterator[Any]:
        try:
            yield AgentThought("asleep")
            await context.report_tool("asleep")
            await asyncio.Event().wait()
        finally:
            await asyncio.shield(context.channels.publish("mesh:ended", request.messages[-1].content))
