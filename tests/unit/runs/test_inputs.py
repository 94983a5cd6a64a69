"""What clients feed the source of a run: bounds, order, ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from lanemesh.client.inputs import to_input
from lanemesh.faults import LanemeshError
from lanemesh.v1 import lane_pb2, run_pb2
from lanemesh_orchestrator.runs.inputs import MAX_BYTES, MAX_INPUTS, RunInputs


async def pushes(inputs: RunInputs, text: str) -> asyncio.Task[None]:
    """A push, as far as it goes by itself."""
    task = asyncio.create_task(inputs.push([to_input(text)]))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize(
    ("text", "fitting"), [("x", MAX_INPUTS), ("x" * (MAX_BYTES // 4), 4)], ids=["by-number", "by-bytes"]
)
async def test_inputs_wait_at_the_client_while_the_source_is_behind(text: str, fitting: int) -> None:
    inputs = RunInputs("r", "chat_1")
    for _ in range(fitting):
        assert (await pushes(inputs, text)).done()
    waiting = await pushes(inputs, text)
    assert not waiting.done()
    async with aclosing(inputs.take("chat_1")) as source:  # type: ignore[type-var]
        await anext(source)
        await anext(source)  # requesting the next one acknowledges the first
        await asyncio.wait_for(waiting, 10)


async def test_a_waiting_push_fails_when_the_run_ends() -> None:
    inputs = RunInputs("r", "chat_1")
    inputs.begin([to_input("x")] * MAX_INPUTS, end=False)
    waiting = await pushes(inputs, "x")
    inputs.stop()
    with pytest.raises(LanemeshError, match="it has ended, or is ending"):
        await waiting


async def test_inputs_come_in_order_until_their_end() -> None:
    inputs = RunInputs("r", "chat_1")
    inputs.begin([to_input("a")], end=False)
    await inputs.push([to_input("b"), to_input("c")], end=True)
    assert [one.item.value async for one in inputs.take("chat_1")] == ["a", "b", "c"]
    assert [one async for one in inputs.take("other_1")] == []
    with pytest.raises(LanemeshError, match="its input has ended"):
        await inputs.push([to_input("d")])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            to_input({"a": 1}),
            "run r accepts no input: the source chat_1 does not accept data; send one of these: text",
        ),
        (
            run_pb2.RunInput(port="answers", item=to_input("x").item),
            'run r accepts no input: the source chat_1 has no output "answers"; its outputs: text',
        ),
    ],
    ids=["type", "output"],
)
async def test_what_the_source_cannot_send_on_is_refused_at_the_push(given: run_pb2.RunInput, message: str) -> None:
    inputs = RunInputs("r", "chat_1", {"text": lane_pb2.LANE_TYPE_TEXT})
    with pytest.raises(LanemeshError) as refused:
        await inputs.push([to_input("taken with it or not at all"), given])
    assert str(refused.value) == message
    await inputs.push([to_input("x")], end=True)
    assert [one.item.value async for one in inputs.take("chat_1")] == ["x"]
