"""Nodes that collect items into lists, and take lists apart."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from lanemesh import Context, In, Inputs, Json, Node, Out, Outputs, Whole
from lanemesh.extend import ABSENT, Item, in_thread, to_json
from pydantic import BaseModel, Field

from lanemesh_services.flow.values import as_json

MAX_LIST = 10_000
"""Most items of a list."""
INLINE_BYTES = 64 * 1024
"""Size at which an item is made JSON in a thread: 64 KiB."""
MAX_LIST_BYTES = 8 * 1024 * 1024
"""Bytes of its items at which a list is sent: 8 MiB."""


class BatchItems(Node):
    """Collects items into lists: of `max` items, or of what has arrived `within` so many seconds of the first one."""

    provider = "batch"
    aliases = ("batch_items",)

    class Config(BaseModel):
        """Settings of a batch."""

        max: int = Field(100, ge=1, le=MAX_LIST, description="Most items of a list. Lists of 8 MiB are sent earlier.")
        within: float | None = Field(
            None,
            gt=0,
            le=86_400,
            description="Longest time in seconds that the first item of a list waits for others; default: any time.",
        )

    item: Annotated[In[Whole[Any]], "What is collected."]
    data: Annotated[Out[list], "The lists."]  # type: ignore[type-arg]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Sends a list whenever it is full or its time has passed, and the rest at the end."""
        items = inputs.iter_items()
        while (item := await _next(items)) is not None:
            clock = asyncio.get_running_loop().time
            until = clock() + self.config.within if self.config.within is not None else None
            found: list[Any] = []
            size = 0
            while item is not None:
                found.append(await _as_data(item))
                size += item.size
                if len(found) >= self.config.max or size >= MAX_LIST_BYTES:
                    break
                item = await _next(items) if until is None else await _next_within(items, until - clock())
            await outputs.emit("data", found)


async def _as_data(item: Item) -> Any:
    """An item as JSON, a large one made in a thread."""
    convert = partial(as_json, item.value, whole=True)
    return convert() if item.size < INLINE_BYTES else await in_thread(convert)


async def _next(items: Any) -> Item | None:
    """The next item with a value; None at the end. A cancelled call takes none."""
    async for _, item in items:
        if item.value is not ABSENT:
            found: Item = item
            return found
    return None


async def _next_within(items: Any, seconds: float) -> Item | None:
    """The next item with a value; None at the end, or after so many seconds.

    A task of its own waits, so that the node counts as busy: its wait ends without an item, and is no part of a deadlock.
    """
    reading = asyncio.create_task(_next(items), name="next item")
    try:
        await asyncio.wait([reading], timeout=max(seconds, 0.0))
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    return None if reading.cancelled() else reading.result()


class Unbatch(Node):
    """Sends the elements of each list one by one, as data and as text."""

    aliases = ("unbatch_items",)

    items: Annotated[In[list], "The lists."]  # type: ignore[type-arg]
    data: Annotated[Out[Json], "Their elements."]
    text: Annotated[Out[str], "The same: a text as it is, any other value as JSON."]

    async def gen_process(self, context: Context) -> Any:
        """Every element; as `text`, a text as it is and any other value as JSON."""
        wanted = [port for port in ("data", "text") if port in context.connected_outputs]
        for element in self.items:
            for port in wanted:
                is_text = isinstance(element, str)
                yield port, element if port == "data" or is_text else to_json(element)
