"""Counts what comes by."""

from __future__ import annotations

from typing import Annotated, Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs


class Count(Node):
    """Counts the texts that come, and their characters, until they end."""

    text: Annotated[In[str], "What is counted."]
    counts: Annotated[Out[dict[str, Any]], 'One object: {"items": ..., "characters": ...}.']

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Counts to the end, then tells."""
        items = characters = 0
        async for piece in inputs.stream("text"):
            items += 1
            characters += len(piece)
        await outputs.emit("counts", {"items": items, "characters": characters})
