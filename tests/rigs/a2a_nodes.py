"""A node that sends words one by one, each when it is let through."""

from __future__ import annotations

from typing import Any

from lanemesh import Context, In, Node, Out


class Gated(Node):
    """Sends the first word of a text at once, and each further one after a message on the channel `gate`."""

    text: In[str]
    words: Out[str]

    async def gen_process(self, context: Context) -> Any:
        """Sends the words."""
        async with context.channels.subscribe("gate") as gate:
            first, *others = self.text.split()
            yield "words", first
            for word in others:
                await anext(aiter(gate))
                yield "words", word
