"""Node types of the load: what begins a run's items."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lanemesh import Context, In, Node, Out
from pydantic import BaseModel


class Ticker(Node):
    """Counts up from 0, slowly enough to be hit in the middle of it."""

    class Config(BaseModel):
        """How much, and how fast."""

        ticks: int = 100
        pause: float = 0.01

    text: In[str]
    tick: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(self.config.ticks):
            yield "tick", str(number)
            await asyncio.sleep(self.config.pause)
