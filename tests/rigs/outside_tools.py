"""Tools for clients outside any run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

from lanemesh import Document, Image, Invokes, ToolCall, ToolContext, ToolNode, ToolResult, tool


class Weather(ToolNode):
    """Tools that answer, fail and wait."""

    @tool
    async def forecast(self, city: str, context: ToolContext, days: int = 1) -> dict[str, Any]:
        """Forecasts the weather."""
        context.progress(f"asking for {city}", 0.5)
        return {"city": city, "days": days}

    @tool
    async def broken(self) -> str:
        """Fails."""
        raise ValueError("no sky")

    @tool
    async def endless(self, context: ToolContext, file: str = "") -> str:
        """Waits until it is cancelled, and then writes that to a file."""
        context.progress("begun")
        try:
            await asyncio.Event().wait()
        finally:
            if file:
                _note(file)
        return ""


def _note(file: str) -> None:
    Path(file).write_text("cancelled")


class Archive(ToolNode):
    """Another tool with a name that is taken."""

    @tool
    def forecast(self, city: str) -> str:
        """Returns a forecast of the past."""
        return f"it rained in {city}"


class Forwarder(ToolNode):
    """A tool that calls the tool of its own name among its helpers."""

    invokes: ClassVar = (Invokes("tool"),)

    @tool
    async def forward(self, context: ToolContext) -> Any:
        """Calls itself."""
        call = ToolCall("1", "forward", "{}")
        async for event in context.node.tools.stream(call):
            if isinstance(event, ToolResult):
                return event.value
        return None


class Silent(ToolNode):
    """A helper that never lists its tools."""

    async def list_tools(self, context: Any) -> Any:
        """Waits."""
        await asyncio.Event().wait()


class Camera(ToolNode):
    """A tool whose result has parts."""

    @tool
    def picture(self, of: str) -> list[Any]:
        """Takes a picture, and describes it."""
        return [Image("image/png", b"pixels"), Document(f"A picture of {of}", source="camera://1")]
