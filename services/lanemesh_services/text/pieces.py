"""Nodes that change, cut and join text as it streams by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs
from pydantic import BaseModel, Field


class UpperCase(Node):
    """Turns text into upper case, piece by piece."""

    restartable = True
    text: Annotated[In[str], "Text in pieces."]
    upper: Annotated[Out[str], "The same pieces in upper case."]

    async def process(self, context: Context) -> dict[str, Any]:
        """Sends a piece on; pieces of one whole stay that."""
        return {"upper": self.text.upper()}


class SplitText(Node):
    """Cuts a stream of text at a separator, such as into lines or paragraphs, wherever the pieces that come are cut.

    Each part goes out as soon as its separator has come, the last one at the end; empty parts are left out.
    """

    class Config(BaseModel):
        """Settings of a split."""

        separator: str = Field("\n", min_length=1, max_length=1_000, description="What stands between two parts.")
        keep: bool = Field(False, description="Leave the separator at the end of each part.")
        size: int = Field(
            100_000, ge=1, le=1_000_000, description="Longest part in characters; longer ones are cut there."
        )

    text: Annotated[In[str], "Text in pieces of any size."]
    parts: Annotated[Out[str], "The parts."]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each part as soon as it is whole."""
        splitter = Splitter(self.config.separator, self.config.size, keep=self.config.keep)
        async for piece in inputs.stream("text"):
            for part in splitter.push(piece):
                await outputs.emit("parts", part)
        for part in splitter.finish():
            await outputs.emit("parts", part)


class Splitter:
    """Cuts text at a separator, also where one spans several pieces. Holds less than `size` characters and a separator."""

    def __init__(self, separator: str, size: int, *, keep: bool = False) -> None:
        self._separator = separator
        self._size = size
        self._keep = keep
        self._held = ""

    def push(self, piece: str) -> Iterator[str]:
        """Takes a piece; gives the parts that are whole with it, without empty ones."""
        searched = max(0, len(self._held) - len(self._separator) + 1)
        text = self._held + piece
        start = 0
        while (end := text.find(self._separator, max(start, searched))) >= 0:
            after = end + len(self._separator)
            yield from self._cut(text[start : after if self._keep else end])
            start = after
        rest = text[start:]
        whole = max(0, len(rest) - len(self._separator) + 1) // self._size * self._size
        self._held = rest[whole:]
        yield from self._cut(rest[:whole])

    def finish(self) -> Iterator[str]:
        """The end of the text; gives what is left."""
        rest, self._held = self._held, ""
        yield from self._cut(rest)

    def _cut(self, part: str) -> Iterator[str]:
        for start in range(0, len(part), self._size):
            yield part[start : start + self._size]


class JoinText(Node):
    """Collects all text until it ends and sends it as one."""

    class Config(BaseModel):
        """Settings of a join."""

        separator: str = Field("", description="What stands between two pieces; nothing where they are tokens.")

    text: Annotated[In[list[str]], "Pieces of text: at most 100,000 of them, and 64 MiB."]
    joined: Annotated[Out[str], "All of it."]

    async def process(self, context: Context) -> dict[str, Any]:
        """Joins what was collected."""
        return {"joined": self.config.separator.join(self.text)}
