"""The node types in Python that the benchmark of languages runs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

from lanemesh import Context, In, Inputs, Node, Out, Outputs


class BenchTexts(Node):
    """Sends as many short texts as a text says."""

    text: In[str]
    out: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(int(self.text)):
            yield "out", f"a token {number % 1000:03}"


class BenchPassPython(Node):
    """Passes texts on."""

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for text in inputs.stream("text"):
            await outputs.emit("out", text)


class BenchCount(Node):
    """Counts texts, and sends their number and the seconds from the first one to the last."""

    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        count, first = 0, 0.0
        async for _ in inputs.stream("text"):
            count += 1
            if count == 1:
                first = time.perf_counter()
        await outputs.emit("out", json.dumps({"items": count, "seconds": time.perf_counter() - first}))
