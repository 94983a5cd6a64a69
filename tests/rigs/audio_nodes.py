"""Node types that send audio in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lanemesh import Audio, Context, Envelope, Group, In, Inputs, Node, Out, Outputs, Pieces
from lanemesh.items import ABSENT
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
