"""Reading an inbox with waits that are cancelled: nothing is taken by them, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from lanemesh import Context, In, Inputs, Json, Node, Out, Outputs
from lanemesh._aio.user_errors import Withdrawn
from lanemesh.faults import EndOfInput
from lanemesh.items import Item
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.node.inputs import Inputs as Reading
from lanemesh.testing import run_node


async def capacity() -> tuple[int, int]:
    """That of who reads in batches."""
    return 100, 1_000


class Reads(Node):
    """Declares the inputs of the tests."""

    text: In[str]
    data: In[Json]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Is not called."""


WAYS: dict[str, Callable[[Reading], Any]] = {
    "stream": lambda inputs: inputs.stream("text"),
    "iter_input": lambda inputs: inputs.iter_input("text"),
    "checked": lambda inputs: inputs.stream("data"),
    "iter_any": lambda inputs: inputs.iter_any(),
    "iter_items": lambda inputs: inputs.iter_items(),
    "batches": lambda inputs: inputs.batches(capacity),
}


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_a_wait_that_is_cancelled_takes_nothing_and_the_next_one_goes_on(way: str, tracked: bool) -> None:
    inbox = Inbox(["text", "data"])
    port = "data" if way == "checked" else "text"
    edge = inbox.add_edge("e", port)
    gate = asyncio.Event()
    seen: list[Any] = []

    async def on_taken(name: str, item: Item) -> None:
        seen.append(item.value)
        await gate.wait()

    stream = WAYS[way](Reading("n", inbox, Reads.inputs_, on_taken if tracked else None))
    assert aiter(stream) is stream
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.001)
    edge.put("first", 5, None)
    if tracked:
        with pytest.raises(TimeoutError):  # in the middle of what is done for an item that was taken
            await asyncio.wait_for(anext(stream), 0.001)
    gate.set()
    assert value_in(await anext(stream)) == "first"
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    edge.put("second", 6, None)  # it is woken, and cancelled before it has taken what woke it
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert value_in(await anext(stream)) == "second"
    edge.end()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert seen == (["first", "second"] if tracked else [])


def value_in(read: Any) -> Any:
    """The value, whether it was read with its input or as an item."""
    last = read[1] if isinstance(read, tuple) else read
    return last.value if isinstance(last, Item) else last


async def test_a_closed_stream_has_ended_and_others_go_on() -> None:
    inbox = Inbox(["text"])
    edge = inbox.add_edge("e", "text")
    edge.put("x", 1, None)
    closed, other = inbox.stream("text"), inbox.stream("text")
    await closed.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(closed)
    assert await anext(other) == "x"


async def test_an_input_that_was_closed_before_its_end_has_not_ended() -> None:
    inbox = Inbox(["open", "ended"])
    inbox.add_edge("e", "open").put("x", 1, None)
    inbox.add_edge("f", "ended").end()
    inbox.withdraw("nothing more is wanted")
    with pytest.raises(Withdrawn):
        await anext(inbox.stream("open"))
    with pytest.raises(StopAsyncIteration):
        await anext(inbox.stream("ended"))


class Batches(Node):
    """Joins what comes until nothing comes for a while."""

    text: In[str]
    batch: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        batch: list[str] = []
        while True:
            try:
                batch.append(await inputs.next("text", timeout=0.01))
            except (TimeoutError, EndOfInput) as over:
                if batch:
                    await outputs.emit("batch", " ".join(batch))
                batch.clear()
                if isinstance(over, EndOfInput):
                    return


def test_a_node_batches_by_time() -> None:
    result = run_node(Batches, text=["a", "b", "c"])
    assert " ".join(result.batch) == "a b c"
