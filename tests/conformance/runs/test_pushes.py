"""Inputs that a caller pushes into its own run: embedded, spread, and through a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from lanemesh import Client, LanemeshError
from lanemesh.client.calls import push_input
from lanemesh.client.inputs import to_input
from lanemesh.client.run_host import RunHost
from lanemesh.v1 import run_pb2_grpc
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import line, node

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+"))


async def test_error_a_push_that_is_refused_fails_alone_and_the_run_continues(host: RunHost) -> None:
    async with host.run(TAG, open_input=True) as run:
        await run.push("1")
        for value, port, why in [({"a": 1}, "", "does not accept data"), ("x", "answers", 'has no output "answers"')]:
            with pytest.raises(LanemeshError, match=why) as refused:
                await run.push(value, port)
            assert refused.value.fault.reason == "bad-input"
        await run.push("2")
        await run.end_input()
        result = await run.result()

    assert (result.state, result.values) == ("completed", ("+1", "+2"))


async def test_error_an_input_that_the_run_was_made_with_cancels_it_with_the_reason(host: RunHost) -> None:
    result = await host.run(TAG, inputs=["1", {"a": 1}]).result()

    assert (result.state, result.error) == ("cancelled", None)
    assert "the source chat does not accept data" in result.reason


async def test_pushes_and_the_end_arrive_in_the_order_of_the_calls(host: RunHost) -> None:
    async with host.run(TAG, open_input=True) as run:
        pushes = [run.push(str(number)) for number in range(200)]
        reading = asyncio.ensure_future(run.values().all())
        await asyncio.gather(*pushes, run.end_input())
        assert await reading == [f"+{number}" for number in range(200)]
        with pytest.raises(LanemeshError, match="accepts no input") as refused:
            await run.push("late")
        assert refused.value.fault.reason in ("input-ended", "run-ended")


@pytest.mark.parametrize("ending", ["at once", "later"])
async def test_inputs_come_before_the_end_that_follows_them(host: RunHost, ending: str) -> None:
    async with host.run(TAG, inputs=["a", "b", "c"], open_input=True) as run:
        values = run.values()
        if ending == "at once":
            await run.end_input()
            assert await values == ["+a", "+b", "+c"]
        else:
            assert [await anext(values) for _ in range(3)] == ["+a", "+b", "+c"]
            await run.end_input()
            assert [value async for value in values] == []
        assert (await run.result()).state == "completed"


async def test_inputs_come_before_the_pushes_and_these_before_the_end(host: RunHost) -> None:
    for given in ([], ["a"], [str(number) for number in range(100)]):
        async with host.run(TAG, inputs=given, open_input=True) as run:
            reading = asyncio.ensure_future(run.values().all())
            await asyncio.gather(run.push("p"), run.push("q"), run.end_input())
            assert await reading == [f"+{value}" for value in [*given, "p", "q"]]


async def test_a_push_waits_for_inputs_that_take_time(host: RunHost) -> None:
    pushed = asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        yield "a"
        await pushed.wait()
        yield "b"

    async with host.run(TAG, inputs=slow(), open_input=True) as run:
        values = run.values()
        assert await anext(values) == "+a"
        feeding = asyncio.gather(run.push("p"), run.end_input())
        await asyncio.sleep(0)
        pushed.set()
        assert [value async for value in values] == ["+b", "+p"]
        await feeding


async def test_shutdown_a_push_that_waits_for_inputs_is_refused_when_the_run_is_closed(host: RunHost) -> None:
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        waiting.set()
        await asyncio.Event().wait()
        yield ""

    async with host.run(TAG, inputs=endless(), open_input=True) as run:
        pushing, ending = asyncio.ensure_future(run.push("p")), asyncio.ensure_future(run.end_input())
        await waiting.wait()
    with pytest.raises(LanemeshError) as refused:
        await pushing
    await ending
    assert refused.value.fault.reason == "run-ended"


async def test_error_one_of_the_inputs_of_an_open_run_cancels_it_with_the_reason(host: RunHost) -> None:
    async with host.run(TAG, inputs=["1", {"a": 1}], open_input=True) as run:
        result = await run.result()

    assert (result.state, result.error) == ("cancelled", None)
    assert "the source chat does not accept data" in result.reason


async def test_error_only_its_caller_feeds_a_run_of_run(serving: Orchestrator, client: Client) -> None:
    stub = run_pb2_grpc.RunServiceStub(client._channel)
    async with client.run(TAG, open_input=True) as run:
        for token in ("", "guessed"):
            with pytest.raises(LanemeshError, match="only the client that called `Run` can feed it"):
                await push_input(stub, run.id, to_input("x"), serving.address, token=token)
        await run.push("1")
        await run.end_input()
        assert await run.values() == ["+1"]
