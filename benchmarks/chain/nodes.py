"""The stages of the chain as Lanemesh nodes, written as the documentation teaches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lanemesh import Context, Image, In, Inputs, Node, Out, Outputs
from pydantic import BaseModel

from chain.work import MEBIBYTE, Count, Work, texts


class ChainSource(Node):
    """Makes texts when it is told to start."""

    class Config(BaseModel):
        work: Work

    config: Config
    start: In[str]
    text: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        work = self.config.work
        for text in texts(work):
            yield "text", text
            if work.interval_s:
                await asyncio.sleep(work.interval_s)


class ChainUpper(Node):
    """Upper-cases text as it streams by."""

    text: In[str]
    upper: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for text in inputs.stream("text"):
            await outputs.emit("upper", text.upper())


class ChainCount(Node):
    """Counts text as it streams by, and says so as often as the work wants."""

    class Config(BaseModel):
        work: Work

    config: Config
    text: In[str]
    counted: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        count = Count(self.config.work.every)
        async for text in inputs.stream("text"):
            if (result := count.take(text)) is not None:
                await outputs.emit("counted", result)
        if (result := count.end()) is not None:
            await outputs.emit("counted", result)


class ChainMediaSource(Node):
    """Makes images of 1 MiB when it is told to start."""

    class Config(BaseModel):
        work: Work

    config: Config
    start: In[str]
    image: Out[Image]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Image]]:
        content = bytes(MEBIBYTE)
        for _ in range(self.config.work.items):
            yield "image", Image("application/octet-stream", content)


class ChainMediaPass(Node):
    """Passes images on."""

    image: In[Image]
    passed: Out[Image]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for image in inputs.stream("image"):
            await outputs.emit("passed", Image(image.mime_type, image.content))


class ChainMediaCount(Node):
    """Counts images."""

    class Config(BaseModel):
        work: Work

    config: Config
    image: In[Image]
    counted: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        seen = 0
        async for image in inputs.stream("image"):
            seen += len(image.content) == MEBIBYTE
        await outputs.emit("counted", str(seen))
