"""Tools as their invoker sees them: of one helper or several, in this process and over gRPC."""

from __future__ import annotations

import asyncio

import pytest
from lanemesh.chat import ToolProgress, ToolResult
from lanemesh.control.tools import ToolSet
from lanemesh.faults import Code, LanemeshError
from lanemesh.values import ToolCall

from .conftest import Kit, Reach, helper_of, seen_by


async def collect(tools: ToolSet, name: str, timeout: float | None = None) -> list[type]:
    return [type(event) async for event in tools.stream(ToolCall("c1", name, '{"x": 1}'), timeout)]


async def test_happy_the_tools_of_all_helpers_are_one_list(reach: Reach) -> None:
    one = await reach.tools(helper_of(Kit, "tool_1", names=("echo",)))
    two = await reach.tools(helper_of(Kit, "tool_2", names=("fail",)))
    tools = ToolSet([one, two])
    await tools.reach()
    assert [spec.name for spec in await tools.specs()] == ["echo", "fail"]
    assert await collect(tools, "echo") == [ToolProgress, ToolResult]


async def test_happy_a_call_may_come_before_a_list(reach: Reach) -> None:
    tools = ToolSet([await reach.tools(helper_of(Kit, "tool_1"))])
    assert await collect(tools, "echo") == [ToolProgress, ToolResult]


async def test_happy_no_helper_no_tools() -> None:
    tools = ToolSet()
    await tools.reach()
    assert await tools.specs() == ()


async def test_happy_two_tools_of_one_name_are_both_reachable(reach: Reach) -> None:
    helpers = [
        helper_of(Kit, name, names=names) for name, names in (("one", ("echo", "hang")), ("two", ("echo", "fail")))
    ]
    tools = ToolSet([await reach.tools(helper) for helper in helpers])
    await tools.reach()
    assert [spec.name for spec in await tools.specs()] == ["one_echo", "hang", "two_echo", "fail"]
    for number, name in enumerate(("one_echo", "two_echo")):
        events = [event async for event in tools.stream(ToolCall("c1", name, '{"x": 1}'))]
        assert isinstance(events[-1], ToolResult)
        assert events[-1].name == name
        assert [helper.activity.calls for helper in helpers] == [1, number]
    with pytest.raises(LanemeshError, match='several helpers have a tool "echo"; call one of them: one_echo, two_echo'):
        await collect(tools, "echo")


async def test_error_a_helper_with_two_tools_of_one_name(reach: Reach) -> None:
    one = await reach.tools(helper_of(Kit, "tool_1", names=("hang", "hang")))
    with pytest.raises(LanemeshError, match=r'tool_1.* has a tool "hang" twice.*Rename') as caught:
        await ToolSet([one]).reach()
    assert caught.value.fault.details["helpers"] == "tool_1"


async def test_error_an_unknown_tool_is_reported_with_the_known_ones(reach: Reach) -> None:
    tools = ToolSet([await reach.tools(helper_of(Kit, "tool_1", names=("echo", "fail")))])
    with pytest.raises(LanemeshError, match='there is no tool "sing"; the tools: echo, fail'):
        await collect(tools, "sing")


async def test_error_of_the_tool_arrives_whole(reach: Reach) -> None:
    tools = ToolSet([await reach.tools(helper_of(Kit, "tool_1"))])
    with pytest.raises(LanemeshError, match="ValueError: the tool broke") as caught:
        await collect(tools, "fail")
    assert caught.value.fault.details["component"] == "tool_1"


async def test_error_a_tool_without_a_result(reach: Reach) -> None:
    tools = ToolSet([await reach.tools(helper_of(Kit, "tool_1"))])
    with pytest.raises(LanemeshError, match="its tool mute ended without a result"):
        await collect(tools, "mute")


async def test_error_the_timeout_of_a_call_is_enforced_at_the_helper(reach: Reach) -> None:
    helper = helper_of(Kit, "tool_1")
    tools = ToolSet([await reach.tools(helper)])
    with pytest.raises(LanemeshError, match=r"tool helper tool_1.* it did not end within 0.1 s") as caught:
        await collect(tools, "hang", timeout=0.1)
    assert caught.value.fault.code is Code.DEADLINE_EXCEEDED
    await asyncio.wait_for(seen_by(helper).closed.wait(), 10)


@pytest.mark.conformance("CTRL-10")
async def test_shutdown_cancelling_the_invoker_cancels_the_call_at_the_helper(reach: Reach) -> None:
    helper = helper_of(Kit, "tool_1")
    task = asyncio.create_task(collect(ToolSet([await reach.tools(helper)]), "hang"))
    await asyncio.wait_for(seen_by(helper).begun.wait(), 5)
    task.cancel()
    await asyncio.wait_for(seen_by(helper).closed.wait(), 10)
