"""A model as its invoker sees it: the same in this process and over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from lanemesh.chat import ChatEvent, ChatFinish, ChatRequest, ChatText
from lanemesh.control.llm import LinkedLlm
from lanemesh.faults import Code, LanemeshError

from .conftest import Parrot, Reach, helper_of, seen_by


async def collect(client: LinkedLlm, text: str) -> list[str]:
    return [
        event.text if isinstance(event, ChatText) else event.reason
        async for event in client.stream(text)
        if isinstance(event, ChatText | ChatFinish)
    ]


async def test_happy_a_turn_arrives_in_order_and_whole(reach: Reach) -> None:
    client = await reach.llm(helper_of(Parrot, "llm_1"))
    await client.reach()
    assert await collect(client, "a b c") == ["a", "b", "c", "stop"]


async def test_happy_each_call_has_a_fresh_copy_of_the_node(reach: Reach) -> None:
    helper = helper_of(Parrot, "llm_1")
    client = await reach.llm(helper)
    await asyncio.gather(collect(client, "a"), collect(client, "b"))
    first, second = seen_by(helper).nodes
    assert first is not second
    assert helper._node not in (first, second)


async def test_streaming_a_piece_arrives_before_the_next_is_made(reach: Reach) -> None:
    client = await reach.llm(helper_of(Parrot, "llm_1"))
    async with aclosing(client.stream("hang")) as events:
        assert await anext(events) == ChatText("hang")


async def test_error_of_the_helper_arrives_whole_after_what_came_before(reach: Reach) -> None:
    client = await reach.llm(helper_of(Parrot, "llm_1"))
    events = client.stream("a boom")
    assert await anext(events) == ChatText("a")
    with pytest.raises(LanemeshError) as caught:
        await anext(events)
    fault = caught.value.fault
    assert (fault.code, fault.reason, fault.secondary) == (Code.UNKNOWN, "node-error", False)
    assert fault.message == "ZeroDivisionError: the parrot broke"
    assert fault.details == {"component": "llm_1", "provider": "parrot", "exception": "ZeroDivisionError"}
    assert "in chat" in fault.traceback
    assert "lanemesh/control" not in fault.traceback


async def test_error_too_long_for_metadata_is_cut(reach: Reach) -> None:
    class Verbose(Parrot):
        async def chat(self, context: object, request: ChatRequest) -> AsyncIterator[ChatEvent]:
            raise RuntimeError("first " + "é" * 100_000 + " last")
            yield

    client = await reach.llm(helper_of(Verbose, "llm_1"))
    with pytest.raises(LanemeshError) as caught:
        await collect(client, "a")
    fault = caught.value.fault
    assert fault.reason == "node-error"
    assert fault.message.startswith("RuntimeError: first é")
    assert fault.message.endswith(" last")
    assert len(fault.to_status().SerializeToString()) < 6_000


async def test_error_a_node_that_yields_something_else(reach: Reach) -> None:
    class Wrong(Parrot):
        async def chat(self, context: object, request: ChatRequest) -> AsyncIterator[ChatEvent]:
            yield "text"  # type: ignore[misc]

    client = await reach.llm(helper_of(Wrong, "llm_1"))
    with pytest.raises(
        LanemeshError, match=r"llm_1 \(wrong\): chat yielded .*; yield ChatText, ToolCall, Usage or ChatFinish"
    ):
        await collect(client, "a")


async def test_error_a_helper_that_offers_no_llm(reach: Reach) -> None:
    class Toolish(Parrot):
        offers = ("tool",)

    client = await reach.llm(helper_of(Toolish, "tool_1"))
    with pytest.raises(
        LanemeshError, match=r"tool_1 \(toolish\) is not a helper of the kind llm; it offers: tool"
    ) as caught:
        await collect(client, "a")
    assert caught.value.fault.code is Code.UNIMPLEMENTED


async def test_error_a_deadline_names_helper_and_invoker_and_cancels_the_helper(reach: Reach) -> None:
    helper = helper_of(Parrot, "llm_1")
    client = await reach.llm(helper, timeout=0.2)
    with pytest.raises(
        LanemeshError, match=r"agent_1 called the llm helper llm_1.* it did not end within 0.2 s"
    ) as caught:
        await collect(client, "hang")
    assert (caught.value.fault.code, caught.value.fault.reason) == (Code.DEADLINE_EXCEEDED, "helper-timeout")
    await asyncio.wait_for(seen_by(helper).closed.wait(), 10)


@pytest.mark.conformance("CTRL-10")
async def test_shutdown_cancelling_the_invoker_cancels_the_generation_at_the_helper(reach: Reach) -> None:
    helper = helper_of(Parrot, "llm_1")
    client = await reach.llm(helper)
    task = asyncio.create_task(collect(client, "hang"))
    await asyncio.wait_for(seen_by(helper).begun.wait(), 5)
    task.cancel()
    await asyncio.wait_for(seen_by(helper).closed.wait(), 10)
    assert seen_by(helper).closed_by[0] in (asyncio.CancelledError, GeneratorExit)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_shutdown_leaving_the_iteration_cancels_the_generation_at_the_helper(reach: Reach) -> None:
    helper = helper_of(Parrot, "llm_1")
    client = await reach.llm(helper)
    async for event in client.stream("hang"):
        assert event == ChatText("hang")
        break
    await asyncio.wait_for(seen_by(helper).closed.wait(), 10)


async def test_waiting_is_entered_around_waits_and_left_before_user_code(reach: Reach) -> None:
    inside: list[bool] = [False]
    entered = 0

    @asynccontextmanager
    async def waiting() -> AsyncIterator[None]:
        nonlocal entered
        entered += 1
        inside[0] = True
        yield
        inside[0] = False

    client = await reach.llm(helper_of(Parrot, "llm_1"), waiting=waiting)
    async for _ in client.stream("a b"):
        assert inside == [False]
    assert entered == 4
    assert inside == [False]
