"""Counts texts and characters."""

from __future__ import annotations

from typing import Annotated, Any

from lanemesh import Context, In, Inputs, Node, Out, Outputs


class Count(Node):
    """Counts texts, and their characters, until the end of the input."""

    text: Annotated[In[str], "What is counted."]
    counts: Annotated[Out[dict[str, Any]], 'One object: {"items": ..., "characters": ...}.']

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Counts until the end, then emits the counts."""
        items = characters = 0
        async for piece in inputs.stream("text"):
            items += 1
            characters += len(piece)
        await outputs.emit("counts", {"items": items, "characters": characters})
