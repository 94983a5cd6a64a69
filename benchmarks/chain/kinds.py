"""The middle and the last stage of the chain as each kind of node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from lanemesh import Context, In, Node, Out
from pydantic import BaseModel

from chain.work import Count, Work


class Counting(BaseModel):
    """What a count stage is told."""

    work: Work
    run: int = 0
    """Tells runs apart: what `load` makes is shared by components of the same config."""


class KindUpperAsync(Node):
    """Upper-cases text."""

    text: In[str]
    upper: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"upper": self.text.upper()}


class KindUpperSync(Node):
    """Upper-cases text."""

    text: In[str]
    upper: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"upper": self.text.upper()}


class KindUpperGenerate(Node):
    """Upper-cases text."""

    text: In[str]
    upper: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        yield "upper", self.text.upper()


class KindUpperGenerateSync(Node):
    """Upper-cases text."""

    text: In[str]
    upper: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        yield "upper", self.text.upper()


class KindCount(Node):
    """Counts text. The count outlives firings, since what `load` makes does."""

    class Config(Counting):
        pass

    text: In[str]
    counted: Out[str]

    @classmethod
    async def load(cls, config: Any) -> Count:
        return Count(config.work.every)


class KindCountAsync(KindCount):
    """Counts text."""

    async def process(self, context: Context) -> dict[str, Any] | None:
        result = self.resource.take(self.text)
        return None if result is None else {"counted": result}


class KindCountSync(KindCount):
    """Counts text."""

    def process(self, context: Context) -> dict[str, Any] | None:
        result = self.resource.take(self.text)
        return None if result is None else {"counted": result}


class KindCountGenerate(KindCount):
    """Counts text."""

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        result = self.resource.take(self.text)
        if result is not None:
            yield "counted", result


class KindCountGenerateSync(KindCount):
    """Counts text."""

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        result = self.resource.take(self.text)
        if result is not None:
            yield "counted", result
