"""Nodes that send pieces, and nodes that tell how they came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Context, Envelope, Group, In, Inputs, Node, Out, Outputs, Pieces, Service, Whole


class SpellOut(Node):
    """Sends each text letter by letter, as one whole."""

    text: In[str]
    letters: Out[Pieces[str]]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        """Spells it."""
        for letter in self.text:
            yield "letters", letter


class Alternate(Node):
    """Sends two wholes at once, a piece of each in turn."""

    text: In[str]
    letters: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """The first text is the first whole, the second one the other."""
        texts = [text async for text in inputs.stream("text")]
        for place, letters in enumerate(zip(*texts, strict=True)):
            for name, letter in zip("xy", letters, strict=False):
                group = Group(f"{context.component}.{name}", place, place == len(texts[0]) - 1)
                await outputs.emit("letters", letter, Envelope(group=group))


class Tell(Node):
    """Tells of each piece which whole it belongs to."""

    letters: In[str]
    told: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """As "whole:letter"."""
        async for _, item in inputs.iter_items():
            if isinstance(item.value, str) and item.envelope is not None and item.envelope.group is not None:
                await outputs.emit("told", f"{item.envelope.group.id}:{item.value}")


class Recite(Node):
    """Takes whole texts."""

    text: In[Whole[str]]
    recited: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        """Sends it on."""
        return {"recited": self.text}


SERVICE = Service("grouping", [SpellOut, Alternate, Tell, Recite])
