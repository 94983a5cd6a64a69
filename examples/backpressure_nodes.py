"""The nodes of backpressure.pipe: a fast producer and a slow consumer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from lanemesh import Context, In, Inputs, Json, Node, Out, Outputs


class Camera(Node):
    """Sends frames as fast as its consumer takes them."""

    frame: Out[Json]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, dict[str, float]]]:
        for number in range(1, 301):
            yield "frame", {"number": number, "at": time.time()}


class Detector(Node):
    """Needs 3 ms per frame, and sends the age of every hundredth one."""

    frame: In[Json]
    seen: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for frame in inputs.stream("frame"):
            await asyncio.sleep(0.003)
            context.progress(frame["number"], 300, "frames")
            if frame["number"] % 100 == 0:
                await outputs.emit("seen", f"frame {frame['number']} was {time.time() - frame['at']:.2f} s old")
