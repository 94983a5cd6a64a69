"""The node types in Python that the check of the examples in C++ runs beside theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lanemesh import Context, In, Inputs, Node, Out, Outputs


class CheckNumbers(Node):
    """Sends as many numbers as a text says."""

    text: In[str]
    number: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        for number in range(int(self.text)):
            yield "number", str(number)


class CheckOrder(Node):
    """Takes numbers, which must arrive in order, and sends how many there were."""

    text: In[str]
    count: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        expected = 0
        async for text in inputs.stream("text"):
            if text != str(expected):
                raise ValueError(f"expected {expected}, got {text}")
            expected += 1
        await outputs.emit("count", str(expected))
