"""Node types for the benchmarks of runs; node servers load this file as well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from lanemesh import Context, In, Inputs, Node, Out, Outputs
from pydantic import BaseModel


class RunSource(Node):
    """Emits texts: as fast as it can, or paced, and then each with the moment of its making in ns of CLOCK_MONOTONIC."""

    class Config(BaseModel):
        items: int = 1_000_000_000
        interval_s: float = 0.0

    config: Config
    start: In[str]
    text: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        paced = self.config.interval_s
        for number in range(self.config.items):
            if paced:
                await asyncio.sleep(paced)
            yield "text", str(time.monotonic_ns() if paced else number)


class RunPass(Node):
    """Passes texts on."""

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for text in inputs.stream("text"):
            await outputs.emit("passed", text)


class RunSlow(Node):
    """Takes so many texts a second, and says how many it has after each second."""

    class Config(BaseModel):
        items_per_s: int = 100

    config: Config
    text: In[str]
    taken: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        taken, began = 0, time.monotonic()
        async for _ in inputs.stream("text"):
            taken += 1
            if taken % self.config.items_per_s == 0:
                await outputs.emit("taken", str(taken))
            await asyncio.sleep(began + taken / self.config.items_per_s - time.monotonic())


class RunCount(Node):
    """Counts texts, and says how many there were."""

    text: In[str]
    counted: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        count = 0
        async for _ in inputs.stream("text"):
            count += 1
        await outputs.emit("counted", str(count))
