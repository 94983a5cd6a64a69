"""Node types for the tests of joins: texts begin with a number, and what becomes of them on their way shows behind it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs, Pieces, Whole
from lanemesh.items import ABSENT, Item
from pydantic import BaseModel


def number_of(text: str) -> int:
    """The number with which a text begins."""
    return int(text.split("=")[0].split("-")[0])


class Mark(Node):
    """Puts a mark behind each text. Drops some, fails at others."""

    class Config(BaseModel):
        mark: str = ""
        drop: list[int] = []
        """Remainders, when divided by ten, of the numbers that are dropped."""
        fail: list[int] = []
        """And of those at which it fails."""

    text: In[str]
    marked: Out[str]

    async def process(self, context: Context) -> dict[str, Any] | None:
        rest = number_of(self.text) % 10
        if rest in self.config.fail:
            raise ValueError(f"no {self.text}")
        return None if rest in self.config.drop else {"marked": f"{self.text}-{self.config.mark}"}


class Once(Node):
    """Sends one text, by itself."""

    text: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"text": "once"}


class HowMany(Node):
    """Counts texts until there are no more."""

    texts: In[list[str]]
    number: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"number": str(len(self.texts))}


class Endless(Node):
    """Counts for ever."""

    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        number = 0
        while True:
            yield "number", str(number)
            number += 1


class Slow(Node):
    """Puts a mark behind each text, by a synchronous body."""

    text: In[str]
    marked: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"marked": f"{self.text}-s"}


class Several(Node):
    """Makes of each text as many as the last digit of its number says, up to three."""

    text: In[str]
    several: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for index in range(min(3, number_of(self.text) % 10)):
            yield "several", f"{self.text}-{index}"


class Route(Node):
    """Sends even numbers by one output, and odd ones by another."""

    text: In[str]
    even: Out[str]
    odd: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"odd" if number_of(self.text) % 2 else "even": self.text}


class Stumble(Node):
    """Fails at each text when it sees it first."""

    class Config(BaseModel):
        test: str
        """Who has seen nothing yet: what it has seen is shared by all components with the same config."""

    text: In[str]
    passed: Out[str]

    @classmethod
    async def load(cls, config: Config) -> set[str]:
        return set()

    async def process(self, context: Context) -> dict[str, Any]:
        if self.text not in self.resource:
            self.resource.add(self.text)
            raise ValueError(f"stumbled over {self.text}")
        return {"passed": f"{self.text}-t"}


class Spell(Node):
    """Says a text piece by piece, as one whole; nothing for numbers that end in 5."""

    class Config(BaseModel):
        mark: str = ""

    text: In[str]
    pieces: Out[Pieces[str]]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        if number_of(self.text) % 10 != 5:
            for piece in (*self.text, "-", self.config.mark):
                yield "pieces", piece


class PairWholes(Node):
    """Says which wholes it got by which input."""

    left: In[Whole[str]]
    right: In[Whole[str]]
    pair: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"pair": f"{self.left}={self.right}"}


class Shuffle(Node):
    """Holds a window of texts and gives them on in another order; drops some."""

    class Config(BaseModel):
        window: int = 4
        drop: list[int] = []
        tells: bool = True
        """It says when it has done with an item."""
        seed: int = 1

    text: In[str]
    shuffled: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        order = random.Random(self.config.seed)
        held: list[Item] = []

        async def one() -> None:
            item = held.pop(order.randrange(len(held)))
            if number_of(item.value) % 10 not in self.config.drop:
                await outputs.emit("shuffled", f"{item.value}-r", source=item)
            if self.config.tells:
                await outputs.done_with(item)
            await asyncio.sleep(0)

        async for _, item in inputs.iter_items():
            if item.value is not ABSENT:
                held.append(item)
            if len(held) >= self.config.window:
                await one()
        while held:
            await one()


class Last(Node):
    """Passes texts on as they stream by, and leaves it to others to say from which item they come."""

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for text in inputs.stream("text"):
            await outputs.emit("passed", f"{text}-l")


class Pair(Node):
    """Says what it got by which input."""

    left: In[str]
    right: In[str]
    pair: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"pair": f"{self.left}={self.right}"}
