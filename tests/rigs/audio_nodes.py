"""Node types that send audio in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lanemesh import Audio, Context, In, Node, Out, Pieces
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
