"""Sources of content for pipelines that are tools of MCP clients."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Audio, Context, Document, Image, In, Inputs, Json, Node, Out, Outputs, Tags
from pydantic import BaseModel, Field

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
"""One red pixel."""
WAV = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA==")
"""One sample."""


class McpContent(Node):
    """Sends what its config lists."""

    text: Out[str]
    image: Out[Image]
    audio: Out[Audio]
    documents: Out[Document]
    data: Out[Json]
    tags: Out[Tags]

    class Config(BaseModel):
        """Settings of the content."""

        parts: list[dict[str, Any]] = []

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        for part in self.config.parts:
            match part:
                case {"text": text}:
                    yield "text", text
                case {"characters": count}:
                    yield "text", "x" * count
                case {"image": _}:
                    yield "image", Image("image/png", PNG)
                case {"audio": _}:
                    yield "audio", Audio("audio/wav", WAV)
                case {"document": text, "uri": uri, "mime_type": mime_type}:
                    yield "documents", Document(text, source=uri, metadata={"mime_type": mime_type})
                case {"data": value}:
                    yield "data", value
                case {"progress": done}:
                    await context.progress(done, 100, "works")
                    await asyncio.sleep(0.05)
                case {"log": line}:
                    context.log.info(line)
                    await asyncio.sleep(0.05)
                case {"fail": message}:
                    raise ValueError(message)
                case {"wait": _}:
                    await asyncio.Event().wait()


class McpBytes(Node):
    """A source that sends the size of each medium, and each JSON value, that a client feeds it."""

    boundary = "source"

    image: Out[Image]
    data: Out[Json]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for given in context.client.inputs(context.component):
            if given.has_value:
                value = given.item.value
                port = "image" if isinstance(value, Image) else "data"
                await outputs.emit(port, value)


class McpForm(Node):
    """A source whose input is a JSON object of a schema that its config has."""

    boundary = "source"

    data: Out[Json]

    class Config(BaseModel):
        """Settings of the form."""

        arguments: dict[str, Any] = Field(json_schema_extra={"format": "arguments-schema"})

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for given in context.client.inputs(context.component):
            if given.has_value:
                await outputs.emit("data", given.item.value)


class McpJob(Node):
    """Takes some time, then returns a text, or fails."""

    given: In[Json]
    text: Out[str]

    class Config(BaseModel):
        """Settings of the job."""

        seconds: float = 0
        approvals: int = 0
        text: str = ""
        fails: str = ""

    async def process(self, context: Context) -> dict[str, str]:
        given: Any = self.given
        asked = [context.approval(f"delete file {n}", tool="delete", call_id="c") for n in range(self.config.approvals)]
        decisions = " ".join("yes" if one else f"no ({one.reason})" for one in await asyncio.gather(*asked))
        await asyncio.sleep(given.get("seconds", self.config.seconds))
        if self.config.fails:
            raise ValueError(self.config.fails)
        return {"text": self.config.text.format(**given, traceparent=context.traceparent, decisions=decisions)}
