"""Node types that show when they fire and what a firing sees. What others wait for they write into a journal."""

from __future__ import annotations

import asyncio
import decimal
import json
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs
from pydantic import BaseModel


def note(journal: str, line: str) -> None:
    """Appends a line to a journal."""
    with Path(journal).open("a") as file:
        file.write(f"{line}\n")


def noted(journal: str) -> list[str]:
    """The lines of a journal."""
    return Path(journal).read_text().splitlines()


async def until_noted(journal: str, count: int) -> None:
    """Waits until a journal has so many lines."""
    while len(noted(journal)) < count:  # noqa: ASYNC110 - other processes write it
        await asyncio.sleep(0.003)


class Journal(BaseModel):
    """Where a node writes what others wait for."""

    journal: str = ""


class Director(Node):
    """Emits by a script: "a1" by the output left, "b1" by right; "/a" and "/b" complete them; "=2" waits until the journal has
    two lines."""

    class Config(Journal):
        pass

    script: In[str]
    left: Out[str]
    right: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        for word in (await inputs.first("script")).split():
            if word[0] == "=":
                await until_noted(self.config.journal, int(word[1:]))
            elif word[0] == "/":
                await outputs.complete({"a": "left", "b": "right"}[word[1:]])
            else:
                await outputs.emit("left" if word[0] == "a" else "right", word)


class Pairing(Node):
    """Says what it fires on."""

    class Config(Journal):
        pass

    left: In[str] = "-"
    right: In[str] = "-"
    pair: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        note(self.config.journal, f"{self.left},{self.right}")
        return {"pair": f"{self.left},{self.right}"}


class PairingBoth(Node):
    """Says what it fires on, and needs both, in a synchronous body."""

    class Config(Journal):
        pass

    left: In[str]
    right: In[str]
    pair: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        note(self.config.journal, f"{self.left},{self.right}")
        return {"pair": f"{self.left},{self.right}"}


class AloneProcess(Node):
    """Has no inputs."""

    word: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"word": "once"}


class AloneGenerate(Node):
    """Has no inputs."""

    word: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        yield "word", "once"


class AloneRun(Node):
    """Has no inputs."""

    word: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await outputs.emit("word", "once")


class Routes(Node):
    """Yields a second value when the journal says that the first one has arrived."""

    class Config(Journal):
        pass

    left: In[str]
    right: In[str]
    first: Out[str]
    second: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        before = len(noted(self.config.journal))
        yield "first", f"{self.left}{self.right}"
        await until_noted(self.config.journal, before + 1)
        yield "second", f"{self.left}{self.right}"


class RoutesSync(Node):
    """The same by a synchronous generator."""

    class Config(Journal):
        pass

    left: In[str]
    right: In[str]
    first: Out[str]
    second: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        before = len(noted(self.config.journal))
        yield "first", f"{self.left}{self.right}"
        while len(noted(self.config.journal)) <= before:
            time.sleep(0.003)
        yield "second", f"{self.left}{self.right}"


VARIABLE: ContextVar[str] = ContextVar("variable", default="")


class OneThread(Node):
    """Yields what only one thread and one context can have."""

    text: In[str]
    found: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, str]]:
        connection = sqlite3.connect(":memory:")
        token = VARIABLE.set(VARIABLE.get() + self.text)
        try:
            with decimal.localcontext() as local:
                local.prec = 4
                for _ in range(2):
                    (one,) = connection.execute("select 1").fetchone()
                    yield "found", f"{VARIABLE.get()} {decimal.Decimal(one) / 3}"
        finally:
            VARIABLE.reset(token)
            connection.close()


class Notes(Node):
    """Writes down what passes, and when it ends."""

    class Config(Journal):
        pass

    text: In[str]
    passed: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for text in inputs.stream("text"):
            note(self.config.journal, text)
            await outputs.emit("passed", text)
        note(self.config.journal, "end")


class ToData(Node):
    """Reads JSON."""

    text: In[str]
    data: Out[Any]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"data": json.loads(self.text)}


class Sticky(Node):
    """Tries to leave something behind for its next firing."""

    data: In[dict[str, Any]]
    none: In[list[str]]
    absent: In[str] = ""
    seen: Out[str]
    count = 0

    def process(self, context: Context) -> dict[str, Any]:
        seen = f"{self.data['n']} {len(self.data)} {self.none} {self.absent!r} {self.count}"
        self.count += 1
        self.data["spoilt"] = True
        self.none.append("spoilt")
        self.absent = "spoilt"
        return {"seen": seen}


class WholeNumber(Node):
    """Takes whole numbers only."""

    class Config(Journal):
        pass

    data: In[int]
    seen: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"seen": str(self.data)}


class Wrong(Node):
    """Does what the text says, all of which a node may not."""

    text: In[str]
    word: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[Any]:
        yield {"port": ("nowhere", "x"), "single": "x", "triple": ("word", "x", "y"), "none": None}[self.text]


class WrongResult(Node):
    """Returns what the text says."""

    text: In[str]
    word: Out[str]
    other: Out[int]

    def process(self, context: Context) -> Any:
        return {"port": {"nowhere": "x"}, "text": "word", "list": [("word", "x")]}[self.text]


class SleepyWriter(Node):
    """Sleeps in a synchronous body until the journal has a line."""

    class Config(Journal):
        pass

    text: In[str]
    slept: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        while not noted(self.config.journal) and not context.cancelled:
            time.sleep(0.003)
        return {"slept": "slept"}


class Overlaps(Node):
    """Notes each text. The firing on "slow" ends when the journal has as many lines as the node is told, others at once."""

    class Config(Journal):
        lines: int = 4

    text: In[str]
    done: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        note(self.config.journal, self.text)
        if self.text == "slow":
            await until_noted(self.config.journal, self.config.lines)
        return {"done": self.text}


class OverlapsSync(Node):
    """The same by a synchronous body."""

    class Config(Journal):
        lines: int = 4

    text: In[str]
    done: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        note(self.config.journal, self.text)
        while self.text == "slow" and len(noted(self.config.journal)) < self.config.lines:
            time.sleep(0.003)
        return {"done": self.text}


class OverlapsGenerating(Node):
    """The same by a generator, which emits twice."""

    class Config(Journal):
        lines: int = 4

    text: In[str]
    done: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        note(self.config.journal, self.text)
        if self.text == "slow":
            await until_noted(self.config.journal, self.config.lines)
        yield "done", self.text
        yield "done", f"{self.text}!"


class Steered(Node):
    """Repeats its word until the control input says stop, which it learns in the middle of the firing."""

    class Config(Journal):
        pass

    left: In[str]
    right: In[str] = "go"
    said: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        if self.right != "go":
            return
        note(self.config.journal, "begun")
        while context.latest("right") == "go":
            yield "said", self.left
            await asyncio.sleep(0.003)
        yield "said", f"saw {context.latest('right')}"


class Fallible(Node):
    """Fails on "bad", and on "first" in its first attempt at it."""

    class Config(Journal):
        emit_first: bool = False

    text: In[str]
    passed: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        attempts = noted(self.config.journal).count(self.text)
        note(self.config.journal, self.text)
        if self.config.emit_first:
            yield "passed", f"before {self.text}"
        if self.text == "bad" or (self.text == "first" and not attempts):
            raise ValueError(f"cannot do {self.text}")
        yield "passed", self.text


class FallibleSync(Node):
    """Fails on "bad" in a synchronous body."""

    text: In[str]
    passed: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        if self.text == "bad":
            raise ValueError("cannot do bad")
        return {"passed": self.text}


class Apart(Node):
    """Does what the text says in a process of its own."""

    isolation = "process"

    class Config(Journal):
        pass

    text: In[str]
    said: Out[str]

    @classmethod
    async def load(cls, config: Any) -> int:
        return os.getpid()

    def process(self, context: Context) -> dict[str, Any]:
        match self.text:
            case "exit":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), 9)
            case "raise":
                raise ValueError("a bad word")
            case "gpu":
                return {"said": str(context.gpu)}
            case "hang":
                context.log.info("hanging")
                note(self.config.journal, f"begun {os.getpid()}")
                while not Path(f"{self.config.journal}.go").exists():
                    time.sleep(0.003)
                note(self.config.journal, "side effect")
            case "print":
                print("this is no frame")
        context.progress(1, 2, self.text)
        return {"said": f"{self.text} {os.getpid() == self.resource} {threading.current_thread().name}"}


class ApartGenerating(Node):
    """Yields in a process of its own, the second value when the journal tells that the first one has arrived."""

    isolation = "process"

    class Config(Journal):
        pass

    text: In[str]
    said: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        yield "said", f"{self.text} 1"
        await until_noted(self.config.journal, 1)
        yield "said", f"{self.text} 2"


class One(Node):
    """A `run` node that says that it sends one item, and sends as many as it is told."""

    class Config(Journal):
        items: int = 1

    text: In[str]
    one: Out[str]

    @classmethod
    def is_streaming_output(cls) -> bool:
        return False

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        texts = [text async for text in inputs.stream("text")]
        for _ in range(self.config.items):
            await outputs.emit("one", " ".join(texts))
