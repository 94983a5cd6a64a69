"""Node types for the tests of the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lanemesh import Context, In, Json, Node, Out
from pydantic import BaseModel


class Counter(Node):
    """Emits numbers as words of one text."""

    class Config(BaseModel):
        count: int = 100
        pause: float = 0.0

    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(self.config.count):
            yield "number", f"{number} "
            await asyncio.sleep(self.config.pause)


class Slow(Node):
    """Passes texts on, and needs a time for each."""

    class Config(BaseModel):
        seconds: float = 0.01

    text: In[str]
    passed: Out[str]

    async def process(self, context: Context) -> str:
        await asyncio.sleep(self.config.seconds)
        return self.text


class Quick(Node):
    """Passes texts on."""

    text: In[str]
    passed: Out[str]

    async def process(self, context: Context) -> str:
        context.log.info("passed %s", self.text)
        return self.text


class Measure(Node):
    """Emits the length of a text as data."""

    text: In[str]
    length: Out[Json]

    async def process(self, context: Context) -> dict[str, Json]:
        return {"length": {"characters": len(self.text), "text": self.text}}
