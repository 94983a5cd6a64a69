"""The node types that a node server offers for `lanemesh conformance`, as docs/protocol.md describes them.

Serve them by `lanemesh node --nodes FILE` with the path of this file, which `lanemesh conformance --nodes-file` prints.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lanemesh import (
    Answer,
    Audio,
    Context,
    Document,
    Image,
    In,
    Inputs,
    Json,
    Node,
    Out,
    Outputs,
    Pieces,
    Question,
    Table,
    Tags,
    Video,
    Whole,
)
from pydantic import BaseModel, ConfigDict, Field

FAIL = "fail"
"""The text at which `conformance_fail` and `conformance_pieces` fail."""


class Settings(BaseModel):
    """The base of the configs: a setting that does not exist is a fault."""

    model_config = ConfigDict(extra="forbid")


class ConformanceEcho(Node):
    """Sends every text on."""

    restartable = True

    class Config(Settings):
        """No settings."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> str:
        return self.text


class ConformanceSource(Node):
    """Sends the texts "0", "1" and so on, then ends."""

    class Config(Settings):
        """How many."""

        count: int = Field(3, ge=0)

    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        for number in range(self.config.count):
            if not await outputs.emit("out", str(number)):
                return


class ConformanceSink(Node):
    """Takes every text and sends nothing."""

    class Config(Settings):
        """No settings."""

    text: In[str]

    async def process(self, context: Context) -> None:
        return None


class ConformanceCount(Node):
    """Sends the number of texts as one text, when its input has ended."""

    class Config(Settings):
        """No settings."""

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        count = 0
        async for _ in inputs.stream("text"):
            count += 1
        await outputs.emit("out", str(count))


class ConformanceSlow(Node):
    """Waits before it sends each text on."""

    class Config(Settings):
        """How long it waits."""

        milliseconds: int = Field(50, ge=0)

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> str:
        await asyncio.sleep(self.config.milliseconds / 1000)
        return self.text


class ConformanceFail(Node):
    """Sends every text on, and fails at the text "fail"."""

    class Config(Settings):
        """No settings."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> str:
        if self.text == FAIL:
            raise ValueError("conformance_fail got the text that it fails at")
        return self.text


class ConformanceFirst(Node):
    """Sends the first texts on and ends, which stops its input."""

    class Config(Settings):
        """How many."""

        count: int = Field(1, ge=1)

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        left = self.config.count
        async for text in inputs.stream("text"):
            await outputs.emit("out", text)
            left -= 1
            if not left:
                return


class ConformanceValues(Node):
    """Sends every value on: one input and one output for each lane type."""

    class Config(Settings):
        """No settings."""

    text: In[str | None] = None
    questions: In[Question | None] = None
    answers: In[Answer | None] = None
    documents: In[Document | None] = None
    table: In[Table | None] = None
    tags: In[Tags | None] = None
    image: In[Image | None] = None
    audio: In[Audio | None] = None
    video: In[Video | None] = None
    data: In[Json | None] = None
    out_text: Out[str]
    out_questions: Out[Question]
    out_answers: Out[Answer]
    out_documents: Out[Document]
    out_table: Out[Table]
    out_tags: Out[Tags]
    out_image: Out[Image]
    out_audio: Out[Audio]
    out_video: Out[Video]
    out_data: Out[Json]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for port, value in inputs.iter_any():
            await outputs.emit(f"out_{port}", value)


class ConformancePieces(Node):
    """Splits each text into its characters, as the pieces of one group; fails at the text "fail", after its first piece."""

    class Config(Settings):
        """No settings."""

    text: In[str]
    out: Out[Pieces[str]]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        for character in self.text:
            yield "out", character
            if self.text == FAIL:
                raise ValueError("conformance_pieces got the text that it fails at")


class ConformanceWhole(Node):
    """Assembles the pieces of each group, and sends the whole text."""

    class Config(Settings):
        """No settings."""

    text: In[Whole[str]]
    out: Out[str]

    async def process(self, context: Context) -> str:
        return self.text


class ConformancePair(Node):
    """Pairs the texts of two inputs that descend from the same item, and sends them joined by "+"."""

    sync_mode = "join"

    class Config(Settings):
        """No settings."""

    first: In[str]
    second: In[str]
    out: Out[str]

    async def process(self, context: Context) -> str:
        return f"{self.first}+{self.second}"
