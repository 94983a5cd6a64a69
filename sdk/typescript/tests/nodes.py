"""Node types in Python that the tests of the TypeScript package use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Answer, Audio, Context, Image, In, Inputs, Node, Out, Outputs, Question
from pydantic import BaseModel


class Shout(Node):
    """Upper case."""

    text: In[str]
    loud: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        return {"loud": self.text.upper()}


class Counting(Node):
    """The numbers up to a text's number, each as a text."""

    class Config(BaseModel):
        """Settings."""

        size: int = 0
        """Characters that each text has at least."""

    text: In[str]
    numbers: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        for number in range(int(self.text)):
            yield "numbers", f"{number} ".ljust(self.config.size, ".")


class Fails(Node):
    """Fails on its second item."""

    text: In[str]
    same: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        seen = 0
        async for _, item in inputs.iter_any():
            seen += 1
            if seen == 2:
                raise ValueError(f"cannot read {item}")
            await outputs.emit("same", item)


class Forever(Node):
    """Waits until it is cancelled."""

    text: In[str]
    same: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}


class Thumbnail(Node):
    """The same image, with its size in bytes as its width."""

    image: In[Image]
    small: Out[Image]

    def process(self, context: Context) -> dict[str, Any]:
        content = self.image.content
        return {"small": Image(mime_type=self.image.mime_type, content=content[::-1], width=len(content))}


class Louder(Node):
    """The same audio at twice the rate."""

    audio: In[Audio]
    louder: Out[Audio]

    def process(self, context: Context) -> dict[str, Any]:
        audio = self.audio
        return {"louder": Audio(mime_type=audio.mime_type, content=audio.content, rate=audio.rate * 2, channels=1)}


class Parrot(Node):
    """Answers with the question."""

    questions: In[Question]
    answers: Out[Answer]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        yield "answers", Answer(f"{len(self.questions.history)} earlier messages, ")
        yield "answers", Answer(self.questions.text, finish_reason="stop")


class Careful(Node):
    """Asks for an approval of each text, and emits the decision."""

    text: In[str]
    result: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        decision = await context.approval(f"send {self.text}")
        yield "result", "approved" if decision else f"refused: {decision.reason}"


class Sleepy(Node):
    """Takes its time for each item."""

    text: In[str]
    same: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"same": self.text}


class Sleepless(Node):
    """Takes a moment for each item."""

    text: In[str]
    same: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        await asyncio.sleep(0.002)
        return {"same": self.text}
