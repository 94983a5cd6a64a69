"""Nodes that convert, split and join streaming text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs
from pydantic import BaseModel, Field


class UpperCase(Node):
    """Converts text to upper case, piece by piece."""

    restartable = True
    text: Annotated[In[str], "Text in pieces."]
    upper: Annotated[Out[str], "The same pieces in upper case."]

    async def process(self, context: Context) -> dict[str, Any]:
        """Sends a converted piece; pieces of one whole remain pieces of one whole."""
        return {"upper": self.text.upper()}


class SplitText(Node):
    """Splits a stream of text at a separator, such as into lines or paragraphs, independently of the boundaries of the pieces.

    Each part is sent when its separator has arrived, the last one at the end; empty parts are dropped.
    """

    class Config(BaseModel):
        """Settings of a split."""

        separator: str = Field("\n", min_length=1, max_length=1_000, description="Separator between two parts.")
        keep: bool = Field(False, description="Keep the separator at the end of each part.")
        size: int = Field(
            100_000,
            ge=1,
            le=1_000_000,
            description="Maximum length of a part in characters; longer ones are split there.",
        )

    text: Annotated[In[str], "Text in pieces of any size."]
    parts: Annotated[Out[str], "The parts."]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends each part when it is complete."""
        splitter = Splitter(self.config.separator, self.config.size, keep=self.config.keep)
        async for piece in inputs.stream("text"):
            for part in splitter.push(piece):
                await outputs.emit("parts", part)
        for part in splitter.finish():
            await outputs.emit("parts", part)


class Splitter:
    """Splits text at a separator, also if it spans several pieces. Keeps less than `size` characters and a separator."""

    def __init__(self, separator: str, size: int, *, keep: bool = False) -> None:
        self._separator = separator
        self._size = size
        self._keep = keep
        self._held = ""

    def push(self, piece: str) -> Iterator[str]:
        """Adds a piece; returns the completed parts, without empty ones."""
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
        """Ends the text; returns the remaining part."""
        rest, self._held = self._held, ""
        yield from self._cut(rest)

    def _cut(self, part: str) -> Iterator[str]:
        for start in range(0, len(part), self._size):
            yield part[start : start + self._size]


class JoinText(Node):
    """Collects all text until it ends and sends it as one."""

    class Config(BaseModel):
        """Settings of a join."""

        separator: str = Field("", description="Separator between two pieces; empty for tokens.")

    text: Annotated[In[list[str]], "Pieces of text: at most 100,000 of them, and 64 MiB."]
    joined: Annotated[Out[str], "All of it."]

    async def process(self, context: Context) -> dict[str, Any]:
        """Joins the collected pieces."""
        return {"joined": self.config.separator.join(self.text)}
