"""The nodes of diamond.pipe: the branches of a stream, and the node that joins them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lanemesh import Context, In, Node, Out, node


class Terms(Node):
    """Sends the words of a text."""

    text: In[str]
    term: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for term in self.text.split():
            yield "term", term


class Backwards(Node):
    """Reverses a word, slowly."""

    term: In[str]
    backwards: Out[str]

    async def process(self, context: Context) -> dict[str, str]:
        await asyncio.sleep(0.02)
        return {"backwards": self.term[::-1]}


class Letters(Node):
    """Counts the letters of long words; drops short ones."""

    term: In[str]
    letters: Out[int]

    def process(self, context: Context) -> dict[str, int] | None:
        return {"letters": len(self.term)} if len(self.term) > 3 else None


@node(sync_mode="join")
def entry(backwards: str, letters: int) -> str:
    """Joins the results of one word."""
    return f"{backwards} {letters}"
