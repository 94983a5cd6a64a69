"""The node types of progress_and_stop.pipe: one publishes its progress, the other one stops it."""

from __future__ import annotations

from math import inf, sqrt
from random import Random
from typing import Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs
from pydantic import BaseModel, Field


class Darts(Node):
    """Estimates pi by darts thrown at a square, until a message stops it."""

    class Config(BaseModel):
        rounds: int = Field(2_000, ge=1, le=100_000, description="Most rounds.")
        darts: int = Field(1_000, ge=1, le=100_000, description="Darts in each of them.")

    text: In[str]
    estimate: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        random, hits, thrown, why = Random(self.text), 0, 0, "no rounds were left"
        async with context.channels.subscribe("control") as control:
            for _ in range(self.config.rounds):
                hits += sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(self.config.darts))
                thrown += self.config.darts
                share = hits / thrown
                error = 4 * sqrt(share * (1 - share) / thrown) or inf
                await context.channels.publish("progress", {"darts": thrown, "pi": 4 * share, "error": min(error, 4)})
                if control.waiting_count:
                    why = await anext(control)
                    break
        return {"estimate": f"pi is about {4 * hits / thrown:.2f} after {thrown:,} darts: {why}"}

    async def finalize(self, context: Context) -> None:
        await context.channels.close("progress")  # ends the subscriptions


class Judge(Node):
    """Subscribes to the progress, and stops the other node when the error is small enough."""

    class Config(BaseModel):
        error: float = Field(0.01, ge=0, description="Standard error that is small enough.")

    verdict: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async with context.channels.subscribe("progress", overflow="drop_oldest", limit=1) as progress:
            async for estimate in progress:
                if estimate["error"] <= self.config.error:
                    await context.channels.publish("control", f"the error is {self.config.error} at most")
                    await outputs.emit("verdict", "good enough")
                    return
        await outputs.emit("verdict", "not good enough")
