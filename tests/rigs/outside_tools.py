"""Tools for clients outside any run."""

from __future__ import annotations

import asyncio
from typing import Any

from lanemesh import ToolContext, ToolNode, tool
from lanemesh.channels import Channels


class Weather(ToolNode):
    """Tools that report what happens to them on the channel `mesh:weather`."""

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
    async def endless(self, context: ToolContext) -> str:
        """Waits until it is cancelled."""
        channels: Channels = context.node.channels
        await channels.publish("mesh:weather", "begun")
        try:
            await asyncio.Event().wait()
        finally:
            await channels.publish("mesh:weather", "cancelled")
        return ""


class Archive(ToolNode):
    """Another tool with a name that is taken."""

    @tool
    def forecast(self, city: str) -> str:
        """Returns a forecast of the past."""
        return f"it rained in {city}"
