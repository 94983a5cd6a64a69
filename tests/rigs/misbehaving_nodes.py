"""Nodes, helpers and hooks that raise what nobody expects, and nodes that end before their producers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Answer, Context, In, Inputs, Invokes, Node, Out, Outputs, Question
from lanemesh.chat import ChatEvent, ChatRequest, ChatText


class Panic(BaseException):
    """What a library in Rust raises."""


class NoText(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise Panic


async def leak() -> None:
    """Awaits what it has cancelled itself."""
    inner = asyncio.ensure_future(asyncio.sleep(9))
    await asyncio.sleep(0)
    inner.cancel()
    await inner


async def misbehave(how: str) -> None:
    """Raises what is asked for."""
    if how == "leak":
        await leak()
    if how == "self":
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(9)
    raise {"panic": Panic("index"), "exit": SystemExit(3), "no text": NoText()}[how]


class Misbehaves(Node):
    """Raises what its input asks for."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        await misbehave(self.text)
        return {}


class Hooked(Node):
    """Raises in a hook."""

    class Config(Node.Config):
        hook: str
        how: str

    text: In[str]
    out: Out[str]

    @classmethod
    async def load(cls, config: Any) -> None:
        if config.hook == "load":
            await misbehave(config.how)

    async def process(self, context: Context) -> dict[str, Any]:
        return {"out": self.text}

    async def finalize(self, context: Context) -> None:
        if self.config.hook == "finalize":
            await misbehave(self.config.how)


class Model(Node):
    """A model that raises what its prompt asks for."""

    offers = ("llm",)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield ChatText("first ")
        await misbehave(request.messages[-1].content)


class Asks(Node):
    """Asks the model, and shows what becomes of it."""

    invokes = (Invokes("llm"),)
    questions: In[Question]
    answers: Out[Answer]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        async for event in context.llm.stream(self.questions.text):
            yield "answers", Answer(str(event))


class Passes(Node):
    """Hands text on."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"out": self.text}


class TakesOne(Node):
    """Has enough after one item."""

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        await outputs.emit("out", await inputs.first("text"))


class Talks(Node):
    """Goes on until it is closed, and yields after that."""

    text: In[str]
    out: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        try:
            while True:
                yield "out", self.text
                await asyncio.sleep(0)
        finally:
            yield "out", "bye"


class Collects(Node):
    """Publishes how many it has got."""

    text: In[list[str]]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        await context.channels.publish("fired", len(self.text))
        return {"out": ""}


class CollectsInRun(Node):
    """The same in `run`."""

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        texts = [text async for text in inputs.stream("text")]
        await context.channels.publish("fired", len(texts))


class Ends(Node):
    """Ends without having taken anything."""

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async with context.channels.subscribe("end") as ending:
            await anext(ending)


class Forgets(Node):
    """Subscribes, never reads, never leaves, and ends."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        await context.channels.subscribe("news", limit=1).open()
        return {"out": self.text}
