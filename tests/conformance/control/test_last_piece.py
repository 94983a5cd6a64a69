"""The result of a tool over gRPC: it is sent together with the status of the call, unless the node continues after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import grpc.aio
import pytest
from lanemesh._grpc.connections import dial
from lanemesh._grpc.status import fault_of
from lanemesh.chat import ToolProgress, ToolResult
from lanemesh.control.connection import COMPONENT_KEY, RUN_KEY
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.v1 import control_pb2, control_pb2_grpc
from lanemesh.values import ToolCall, ToolSpec

from .conftest import RUN, Serve, helper_of


class Continuing(Node):
    """Tools that continue after their results."""

    offers: ClassVar = ("tool",)
    go_on: asyncio.Event
    ended: asyncio.Event

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        return [ToolSpec(name) for name in ("plain", "pause", "wait", "fail", "mute")]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncIterator[ToolProgress | ToolResult]:
        yield ToolProgress("on it")
        if call.name != "mute":
            yield ToolResult("1")
        match call.name:
            case "pause":
                await asyncio.sleep(0)
            case "wait":
                await self.go_on.wait()
        self.ended.set()
        if call.name == "fail":
            raise ZeroDivisionError("after the result")


class Calls:
    """Calls the tools as a plain client of gRPC does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = control_pb2_grpc.ToolServiceStub(channel)

    def call(self, name: str) -> Any:
        request = control_pb2.CallToolRequest(call_id="c", name=name, arguments_json="{}")
        return self._stub.CallTool(request, metadata=((RUN_KEY, RUN), (COMPONENT_KEY, "tool_1")))


def _results(pieces: list[control_pb2.CallToolResponse]) -> list[str]:
    return [piece.result.content_json if piece.HasField("result") else piece.progress.message for piece in pieces]


@pytest.mark.parametrize("name", ["plain", "pause"])
async def test_happy_progress_and_one_result_then_the_status(serve: Serve, name: str) -> None:
    ended = asyncio.Event()
    helper = helper_of(Continuing, "tool_1", ended=ended)
    async with dial(await serve(helper)) as channel:
        call = Calls(channel).call(name)
        assert _results([piece async for piece in call]) == ["on it", "1"]
        assert await call.code() is grpc.StatusCode.OK
    assert ended.is_set(), "the node has run up to its end"
    assert (helper.activity.calls, helper.activity.active, helper.activity.failed) == (1, 0, 0)


async def test_happy_a_result_does_not_wait_for_what_the_node_does_after_it(serve: Serve) -> None:
    go_on, ended = asyncio.Event(), asyncio.Event()
    helper = helper_of(Continuing, "tool_1", go_on=go_on, ended=ended)
    async with dial(await serve(helper)) as channel:
        call = Calls(channel).call("wait")
        assert _results([await call.read(), await call.read()]) == ["on it", "1"]
        assert not ended.is_set()
        assert helper.activity.active == 1
        go_on.set()
        assert _results([await call.read()]) == ["1"], "the last piece is repeated with the status"
        assert await call.code() is grpc.StatusCode.OK
    assert ended.is_set()


async def test_shutdown_leaving_a_call_after_its_result_cancels_what_the_node_does_after_it(serve: Serve) -> None:
    helper = helper_of(Continuing, "tool_1", go_on=asyncio.Event(), ended=asyncio.Event())
    async with dial(await serve(helper)) as channel:
        call = Calls(channel).call("wait")
        assert _results([await call.read(), await call.read()]) == ["on it", "1"]
        (serving,) = helper._calls
        call.cancel()
        await asyncio.wait_for(asyncio.wait([serving]), 10)
    assert helper.activity.active == 0


async def test_error_after_the_result_is_the_status(serve: Serve) -> None:
    helper = helper_of(Continuing, "tool_1", ended=asyncio.Event())
    async with dial(await serve(helper)) as channel:
        call = Calls(channel).call("fail")
        assert _results([await call.read(), await call.read()]) == ["on it", "1"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    fault = fault_of(caught.value)
    assert fault is not None
    assert "ZeroDivisionError: after the result" in fault.message
    assert helper.activity.failed == 1


async def test_error_no_result_is_a_fault_for_any_client(serve: Serve) -> None:
    async with dial(await serve(helper_of(Continuing, "tool_1", ended=asyncio.Event()))) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [piece async for piece in Calls(channel).call("mute")]
    fault = fault_of(caught.value)
    assert fault is not None
    assert (fault.reason, fault.details["component"]) == ("no-result", "tool_1")
    assert "its tool mute ended without a result" in fault.message
