"""The node types in Python that the tests of sdk/go and sdk/cpp run beside their own, by `lanemesh node --nodes`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

from lanemesh import Context, Image, In, Inputs, Node, Out, Outputs, Pieces, Whole
from pydantic import BaseModel

SIZE = 3 * 1024 * 1024 + 7


class PyNumbers(Node):
    """Sends as many numbers as a text says."""

    text: In[str]
    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(int(self.text)):
            yield "number", str(number)


class PyCheck(Node):
    """Takes numbers, which must arrive in order, and sends how many there were."""

    text: In[str]
    count: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        expected = 0
        async for text in inputs.stream("text"):
            if text != str(expected):
                raise ValueError(f"expected {expected}, got {text}")
            expected += 1
        await outputs.emit("count", str(expected))


class PyFail(Node):
    """Fails at once."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        raise RuntimeError("py_fail fails")


class PyPieces(Node):
    """Sends the characters of a text as the pieces of one whole."""

    text: In[str]
    piece: Out[Pieces[str]]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for character in self.text:
            yield "piece", character


class PyWhole(Node):
    """Sends each whole text on, in brackets."""

    text: In[Whole[str]]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        return {"out": f"[{self.text}]"}


class PyPicture(Node):
    """Makes a picture that is larger than a frame."""

    text: In[str]
    image: Out[Image]

    async def process(self, context: Context) -> dict[str, Image]:
        return {"image": Image(mime_type="image/png", content=bytes(index % 251 for index in range(SIZE)), width=3)}


class PyDigest(Node):
    """Sends the digest of the content of each picture."""

    image: In[Image]
    digest: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        return {"digest": f"{self.image.width} {hashlib.sha256(self.image.content).hexdigest()}"}


class PySlow(Node):
    """Sends texts on, each after some time."""

    class Config(BaseModel):
        """The time."""

        seconds: float = 0.01

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        await asyncio.sleep(self.config.seconds)
        return {"out": self.text}
