"""Node types that send audio in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from lanemesh import Audio, Context, Envelope, Group, In, Inputs, Json, Node, Out, Outputs, Pieces
from lanemesh.items import ABSENT, GroupOutcome
from pydantic import BaseModel


class CutAudio(Node):
    """Cuts the bytes of each file into the pieces of a group."""

    class Config(BaseModel):
        """Settings."""

        size: int = 4_000

    audio: In[Audio]
    pieces: Out[Pieces[Audio]]

    def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
        """One file."""
        content = self.audio.content
        for start in range(0, len(content), self.config.size):
            yield "pieces", replace(self.audio, content=content[start : start + self.config.size])


class MarkPauses(Node):
    """Sends all that it gets as one utterance, with a pause after each piece."""

    audio: In[Audio]
    speech: Out[Audio]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """As the pieces arrive."""
        count = 0
        async for piece in inputs.stream("audio"):
            await outputs.emit("speech", piece, Envelope(group=Group("one", count), metadata={"pause": "1"}))
            count += 1
        await outputs.emit("speech", ABSENT, Envelope(group=Group("one", count, last=True)))


class BreakOff(Node):
    """Sends all that it gets as one group that ends with an outcome."""

    class Config(BaseModel):
        """Settings."""

        outcome: Literal["OK", "ERROR", "CANCELLED"] = "CANCELLED"

    audio: In[Audio] = None  # type: ignore[assignment]
    text: In[str] = None  # type: ignore[assignment]
    speech: Out[Audio]
    spoken: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """As the pieces arrive."""
        (port,) = inputs.connected
        output = {"audio": "speech", "text": "spoken"}[port]
        count = 0
        async for piece in inputs.stream(port):
            await outputs.emit(output, piece, Envelope(group=Group("one", count)))
            count += 1
        last = Group("one", count, last=True, outcome=GroupOutcome[self.config.outcome])
        await outputs.emit(output, ABSENT, Envelope(group=last))


class HowTheyEnd(Node):
    """Sends the outcome of each group."""

    audio: In[Audio] = None  # type: ignore[assignment]
    text: In[str] = None  # type: ignore[assignment]
    outcomes: Annotated[Out[Json], "Their names."]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """As they end."""
        async for _, item in inputs.iter_items():
            if item.envelope is not None and item.envelope.group is not None and item.envelope.group.last:
                await outputs.emit("outcomes", item.envelope.group.outcome.name)
