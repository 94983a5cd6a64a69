"""The nodes of control.pipe: a stream of readings, and a display with a control input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lanemesh import Context, In, Node, Out
from pydantic import BaseModel, Field


class Thermometer(Node):
    """Reads the temperature, in degrees Celsius."""

    class Config(BaseModel):
        readings: int = Field(4, ge=1, description="How many readings.")
        pause: float = Field(0.02, ge=0, description="Seconds between them.")

    celsius: Out[float]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, float]]:
        for reading in range(self.config.readings):
            yield "celsius", 20 + 0.5 * (reading % 10)
            await asyncio.sleep(self.config.pause)


class Display(Node):
    """Shows each reading in the latest unit. Fires on each item of any input: "on_any" is the default of `sync_mode`."""

    celsius: In[float]
    unit: In[str]
    shown: Out[str]

    def process(self, context: Context) -> dict[str, str]:
        if self.unit.strip() == "fahrenheit":
            return {"shown": f"{self.celsius * 9 / 5 + 32:.1f} °F"}
        return {"shown": f"{self.celsius:.1f} °C"}
