"""Nodes that call tools, and nodes that pipelines behind tools consist of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Answer, Context, Invokes, ToolCall, ToolResult, node
from lanemesh.extend import to_json

HANGING = threading.Event()
"""Set when `hanging` begins."""
CANCELLED = threading.Event()
"""Set when `hanging` is cancelled."""


@node(invokes=(Invokes("tool", 1, None),))
async def asking(text: str, context: Context, *, tool: str) -> str:
    """Calls a tool with a text; sends its progress and its result."""
    events: list[Any] = []
    async for event in context.tools.stream(ToolCall("1", tool, to_json({"input": text}))):
        events.append([event.is_error, event.value] if isinstance(event, ToolResult) else event.message)
    return to_json(events)


@node
async def shouting(text: str, context: Context) -> AsyncIterator[str]:
    """Upper-cases a text, in two pieces."""
    context.progress(1, 2, "half")
    await asyncio.sleep(0)
    yield text.upper()
    yield f"! {context.session}"


@node
async def structured(text: str) -> Answer:
    """An answer with data."""
    return Answer(data={"asked": text}, finish_reason="stop")


@node
async def streaming(text: str) -> AsyncIterator[Answer]:
    """Answers in two pieces."""
    yield Answer(text)
    yield Answer("!", finish_reason="stop")


@node
async def breaking(text: str) -> str:
    """Fails."""
    raise ValueError(f"no {text}")


@node
async def hanging(text: str) -> str:
    """Waits for ever."""
    HANGING.set()
    try:
        await asyncio.Event().wait()
    finally:
        CANCELLED.set()
    return text


@node
async def flooding(text: str) -> AsyncIterator[str]:
    """Sends 20 MB."""
    for _ in range(20):
        yield "x" * 1_000_000


@node
async def reporting(text: str, context: Context) -> str:
    """Reports as an agent does, with a warning."""
    context.progress(1, 4, "begun")
    context.log.warning("careful with %s", text)
    await context.report_tool("I look it up.")
    await context.report_tool(ToolCall("1", "search", "{}"))
    await context.report_tool(ToolResult('"found"', "1", "search"))
    return text
