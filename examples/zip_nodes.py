"""Two streams, and the node of zip.pipe that zips them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

from lanemesh import Context, In, Node, Out, node


class Words(Node):
    """Sends the words of a text."""

    text: In[str]
    word: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for word in self.text.split():
            yield "word", word


class Seconds(Node):
    """Counts half seconds endlessly."""

    at: Out[float]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, float]]:
        for half in count():
            yield "at", half / 2


@node(sync_mode="zip_all")
def subtitle(word: str, at: float) -> str:
    """Makes a line of one word and one time."""
    return f"{at:.1f} {word}"
