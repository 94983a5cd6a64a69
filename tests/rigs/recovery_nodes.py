"""Node types for the tests of recovery. Node servers load this file as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from lanemesh import Context, In, Node, Out, Pieces, Whole
from pydantic import BaseModel


class Counting(Node):
    """Emits numbers as text, on its own."""

    class Config(BaseModel):
        count: int = 10_000

    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(self.config.count):
            yield "number", str(number)


class Steady(Node):
    """Passes texts on, and can be placed again."""

    restartable = True

    class Config(BaseModel):
        pause: float = 0.0
        """Seconds that each text takes."""
        held_by: str = ""
        """While this file exists, loading does not end."""
        fails_at: str = ""
        """The text at which it fails."""

    text: In[str]
    passed: Out[str]

    @classmethod
    async def load(cls, config: Config) -> None:
        while config.held_by and Path(config.held_by).exists():  # noqa: ASYNC110, ASYNC240 - a test in another process
            await asyncio.sleep(0.05)

    async def process(self, context: Context) -> dict[str, Any]:
        if self.config.pause:
            await asyncio.sleep(self.config.pause)
        if self.text == self.config.fails_at:
            raise ValueError("the text at which it fails")
        return {"passed": self.text}


class SteadySync(Node):
    """The same by a synchronous body, whose firings share hops to a thread."""

    restartable = True
    text: In[str]
    passed: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"passed": self.text}


class Spelling(Node):
    """Sends the letters of each text as the pieces of one, and can be placed again."""

    restartable = True

    class Config(BaseModel):
        pause: float = 0.0
        """Seconds that each letter takes."""

    text: In[str]
    letters: Out[Pieces[str]]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for letter in self.text:
            if self.config.pause:
                await asyncio.sleep(self.config.pause)
            yield "letters", letter


class Fragile(Node):
    """Passes texts on, and cannot be placed again."""

    text: In[str]
    passed: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"passed": self.text}


class Put(Node):
    """Puts the pieces of texts together."""

    text: In[Whole[str]]
    whole: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"whole": self.text}


class Twice(Node):
    """Sends each text twice, by a synchronous generator."""

    restartable = True
    text: In[str]
    passed: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        yield "passed", self.text
        yield "passed", self.text
