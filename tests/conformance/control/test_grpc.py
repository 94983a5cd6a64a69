"""What only gRPC has: metadata, servers that are not there, helpers that go away, plain clients."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from lanemesh._grpc.connections import dial
from lanemesh.chat import ChatText, ToolResult
from lanemesh.control.grpc_link import GrpcLink
from lanemesh.control.llm import LinkedLlm
from lanemesh.control.tools import LinkedTools, ToolSet
from lanemesh.faults import Code, LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.v1 import control_pb2, control_pb2_grpc
from lanemesh.values import ToolCall

from .conftest import RUN, Kit, Parrot, Serve, helper_of, seen_by

ASK = "a hang"


def _llm(channel: grpc.aio.Channel, run_id: str, component: str, **settings: Any) -> LinkedLlm:
    return LinkedLlm(GrpcLink(HELPER_KINDS["llm"], channel, run_id, component, **settings))


def _tools(channel: grpc.aio.Channel, run_id: str, component: str, **settings: Any) -> LinkedTools:
    return LinkedTools(GrpcLink(HELPER_KINDS["tool"], channel, run_id, component, **settings))


async def test_error_an_unknown_helper_is_named(serve: Serve) -> None:
    async with dial(await serve(helper_of(Parrot, "llm_1"))) as channel:
        client = _llm(channel, RUN, "llm_9")
        with pytest.raises(
            LanemeshError, match=r'component "llm_9" of the run "run-1", which is not a helper'
        ) as caught:
            await anext(client.stream(ASK))
    assert (caught.value.fault.code, caught.value.fault.reason) == (Code.NOT_FOUND, "unknown-helper")


async def test_error_a_plain_client_reads_the_rich_error(serve: Serve) -> None:
    async with dial(await serve()) as channel:
        call = control_pb2_grpc.ToolServiceStub(channel).ListTools(control_pb2.ListToolsRequest())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("lanemesh", "unknown-helper")


@pytest.mark.conformance("CTRL-02")
async def test_error_an_unreachable_helper_is_named_with_its_invoker_and_address() -> None:
    async with dial("127.0.0.1:9") as channel:
        client = _llm(channel, RUN, "llm_1", invoker="agent_1", address="127.0.0.1:9", reach_seconds=0.2)
        with pytest.raises(LanemeshError) as caught:
            await client.reach()
    assert "agent_1 called the llm helper llm_1 at 127.0.0.1:9: it cannot be reached" in caught.value.fault.message
    assert (caught.value.fault.code, caught.value.fault.secondary) == (Code.UNAVAILABLE, False)


@pytest.mark.conformance("CTRL-02")
async def test_error_reaching_a_tool_helper_that_is_not_there(serve: Serve) -> None:
    async with dial(await serve()) as channel:
        with pytest.raises(LanemeshError, match='"tool_1" of the run'):
            await _tools(channel, RUN, "tool_1").reach()


async def test_error_a_server_that_goes_away_is_the_consequence_of_something(serve: Serve) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with dial(f"127.0.0.1:{port}") as channel:
        client = _llm(channel, RUN, "llm_1", invoker="agent_1", address=f"127.0.0.1:{port}")
        await client.reach()
        await server.stop(0)
        with pytest.raises(LanemeshError, match=rf"agent_1 called the llm helper llm_1 at 127.0.0.1:{port}") as caught:
            await anext(client.stream(ASK))
    assert (caught.value.fault.reason, caught.value.fault.secondary) == ("helper-unreachable", True)


async def test_error_a_server_of_something_else(serve: Serve) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with dial(f"127.0.0.1:{port}") as channel:
        with pytest.raises(LanemeshError, match=r"tool helper tool_1.*UNIMPLEMENTED") as caught:
            await _tools(channel, RUN, "tool_1").list()
    await server.stop(0)
    assert (caught.value.fault.code, caught.value.fault.reason) == (Code.UNIMPLEMENTED, "helper-error")


@pytest.mark.conformance("CTRL-10")
async def test_shutdown_closing_a_helper_cancels_its_calls_and_notifies_their_callers(serve: Serve) -> None:
    helper = helper_of(Parrot, "llm_1")
    async with dial(await serve(helper)) as channel:
        pieces = _llm(channel, RUN, "llm_1").stream(ASK)
        assert await anext(pieces) == ChatText("a")
        assert await anext(pieces) == ChatText("hang")
        await helper.close()
        assert seen_by(helper).closed.is_set()
        with pytest.raises(LanemeshError) as caught:
            await anext(pieces)
        assert (caught.value.fault.code, caught.value.fault.reason) == (Code.CANCELLED, "helper-closed")
        assert caught.value.fault.secondary
        with pytest.raises(LanemeshError, match="llm_1 accepts no more calls"):
            await anext(_llm(channel, RUN, "llm_1").stream(ASK))


async def test_shutdown_a_channel_that_is_closed_under_a_call(serve: Serve) -> None:
    helper = helper_of(Parrot, "llm_1")
    channel = dial(await serve(helper))
    pieces = _llm(channel, RUN, "llm_1").stream(ASK)
    await anext(pieces)
    await channel.close()
    await asyncio.wait_for(seen_by(helper).closed.wait(), 10)


@pytest.mark.conformance("CTRL-08")
async def test_happy_a_client_outside_any_run_calls_a_tool(serve: Serve) -> None:
    async with dial(await serve(helper_of(Kit, "tool_1"))) as channel:
        tools = ToolSet([_tools(channel, RUN, "tool_1")])
        events = [event async for event in tools.stream(ToolCall("1", "echo", "{}"))]
        assert events[-1] == ToolResult("{}", "1", "echo")


def test_the_local_path_imports_no_grpc() -> None:
    code = "import sys, lanemesh.control.llm, lanemesh.control.tools; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [("", {}), ("00-1-2-3", {"traceparent": "00-1-2-3"})],
)
async def test_calls_carry_the_trace_of_their_run(traceparent: str, expected: dict[str, str]) -> None:
    seen: list[dict[str, str]] = []

    async def list_tools(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> control_pb2.ListToolsResponse:
        seen.append({str(key): str(value) for key, value in context.invocation_metadata() or ()})
        return control_pb2.ListToolsResponse()

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        list_tools,
        request_deserializer=control_pb2.ListToolsRequest.FromString,
        response_serializer=control_pb2.ListToolsResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("lanemesh.v1.ToolService", {"ListTools": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with dial(f"127.0.0.1:{port}") as channel:
        await _tools(channel, RUN, "tool_1", traceparent=traceparent).list()
    await server.stop(0)
    assert [{key: value for key, value in one.items() if key == "traceparent"} for one in seen] == [expected]
