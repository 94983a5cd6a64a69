"""Nodes that limit how fast items go, and that sort them within a window."""

from __future__ import annotations

import asyncio
import heapq
from typing import Annotated, Any, Literal

from lanemesh import Context, In, Inputs, Node, Out, Outputs, Whole
from lanemesh.extend import ABSENT, Item, in_thread
from pydantic import BaseModel, Field

from lanemesh_services.flow.errors import expression_failed
from lanemesh_services.flow.expressions import MAX_EXPRESSION, Expression
from lanemesh_services.flow.values import described

MAX_WINDOW = 10_000
"""Most items that a window holds."""
MAX_WINDOW_BYTES = 64 * 1024 * 1024
"""Bytes of these items at which the window sends some: 64 MiB."""


class Throttle(Node):
    """Passes on at most so many items in a time. Further ones wait, so that their producer waits, or are dropped."""

    class Config(BaseModel):
        """Settings of a throttle."""

        items: int = Field(1, ge=1, le=1_000_000, description="How many items pass in the time.")
        seconds: float = Field(1.0, gt=0, le=86_400, description="The time in seconds.")
        surplus: Literal["wait", "drop"] = Field("wait", description="What happens to further items in that time.")

    item: Annotated[In[Whole[Any]], "What passes."]
    passed: Annotated[Out[Any], "The items, in order."]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Passes items on as their time comes: the nth one not before the (n - `items`)th one was sent so many seconds ago."""
        clock = asyncio.get_running_loop().time
        sent: list[float] = [float("-inf")] * self.config.items
        count = dropped = 0
        async for _, item in inputs.iter_items():
            if item.value is ABSENT:
                continue
            wait = sent[count % self.config.items] + self.config.seconds - clock()
            if wait > 0 and self.config.surplus == "drop":
                dropped += 1
                await outputs.done_with(item)
                continue
            if wait > 0:
                async with context.waiting_for("its next time to send"):
                    await asyncio.sleep(wait)
            sent[count % self.config.items] = clock()
            count += 1
            await outputs.emit("passed", item.value, source=item)
            await outputs.done_with(item)
        if dropped:
            context.log.info("dropped %d of %d items, which came too fast", dropped, dropped + count)


class SortWindow(Node):
    """Sorts items by a key as far as a window of them permits: each item leaves when the window is full and it is the least.

    Items that are at most `size` places away from where they belong leave in order; the sort is stable.
    """

    pip_extra = "flow"
    python_packages = ("celpy",)

    class Config(BaseModel):
        """Settings of a window."""

        by: str = Field(
            min_length=1,
            max_length=MAX_EXPRESSION,
            description="Key in CEL, a number or a text, such as `item.timestamp`, `item.chunk_index` or `-item.score`.",
        )
        size: int = Field(
            100, ge=1, le=MAX_WINDOW, description="Most items that the window holds. It holds 64 MiB at most."
        )

    item: Annotated[In[Whole[Any]], "What is sorted."]
    sorted: Annotated[Out[Any], "The items in the order of the key."]

    @classmethod
    async def load(cls, config: Any) -> Expression:
        """Compiles the key. Raises LanemeshError if it is no expression."""
        return await in_thread(Expression, config.by, "by", cls.provider)

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends the least item of a full window, and the rest in order at the end."""
        window: list[tuple[tuple[bool, Any], int, Item]] = []
        size = number = 0
        async for _, item in inputs.iter_items():
            if item.value is ABSENT:
                continue
            heapq.heappush(window, (await in_thread(self._key, item.value), number, item))
            number += 1
            size += item.size
            while len(window) > self.config.size or size > MAX_WINDOW_BYTES:
                size -= await _send_least(window, outputs)
        while window:
            await _send_least(window, outputs)

    def _key(self, value: Any) -> tuple[bool, Any]:
        """The key, which sorts numbers before texts."""
        key = self.resource.value(value)
        if isinstance(key, bool) or not isinstance(key, int | float | str):
            why = f"its value is {str(key)[:60]!r}, but a key is a number or a text"
            raise expression_failed("by", self.config.by, described(value), why)
        return isinstance(key, str), key


async def _send_least(window: list[tuple[tuple[bool, Any], int, Item]], outputs: Outputs) -> int:
    """Sends the least item of a window. Returns its size."""
    _, _, item = heapq.heappop(window)
    await outputs.emit("sorted", item.value, source=item)
    await outputs.done_with(item)
    return item.size
