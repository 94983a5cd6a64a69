"""Node types of the benchmark of agents: tools, a model that stamps its text with the time, and a node that measures calls."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from statistics import median
from typing import Annotated, Any, ClassVar

import grpc.aio
from lanemesh import (
    ChatEvent,
    ChatFinish,
    ChatRequest,
    ChatText,
    Context,
    In,
    Invokes,
    Node,
    Out,
    ToolCall,
    ToolProgress,
    ToolResult,
    ToolSpec,
)
from pydantic import BaseModel

METHOD = "/lanemesh.benchmark.Echo/Call"
"""The method of the bare server."""


class BenchTools(Node):
    """Tools: echo returns at once, nap sleeps."""

    offers: ClassVar = ("tool",)

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The two tools."""
        return [ToolSpec("echo"), ToolSpec("nap")]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolResult, None]:
        """Makes a call."""
        if call.name == "nap":
            await asyncio.sleep(json.loads(call.arguments)["seconds"])
        yield ToolResult("1")


class StampedLlm(Node):
    """A model whose only word is the time at which it writes it."""

    offers: ClassVar = ("llm",)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Writes the time."""
        yield ChatText(f"{time.time_ns()} ")
        yield ChatFinish()


class MeasureCalls(Node):
    """Calls a tool, and a bare server beside it, in pairs; emits the medians of both in microseconds, as JSON."""

    invokes: ClassVar = (Invokes("tool", 1, 1),)

    class Config(BaseModel):
        """Settings."""

        address: str
        """Of the bare server."""
        calls: int = 1000

    text: Annotated[In[str], "Starts a measurement."]
    measured: Annotated[Out[str], "The medians."]

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Measures."""
        await context.tools.specs()
        tool_us, bare_us = [], []
        async with grpc.aio.insecure_channel(self.config.address) as channel:
            bare: Any = channel.unary_unary(METHOD)
            for _ in range(self.config.calls):
                began = time.perf_counter()
                await bare(b"1")
                between = time.perf_counter()
                async with aclosing(context.tools.stream(ToolCall("c", "echo", "{}"))) as events:
                    async for _event in events:
                        pass
                tool_us.append((time.perf_counter() - between) * 1e6)
                bare_us.append((between - began) * 1e6)
        yield "measured", json.dumps([median(tool_us), median(bare_us)])
