"""Node types on a Python server that a test kills."""

from __future__ import annotations

import asyncio

from lanemesh import Context, In, Inputs, Node, Out, Outputs


class Endless(Node):
    """Sends texts until it is stopped."""

    text: In[str]
    numbers: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        number = 0
        while await outputs.emit("numbers", str(number)):
            number += 1
            await asyncio.sleep(0.001)
