"""Calls of the tools of a remote mesh, by its ToolService."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc.aio

from lanemesh._grpc.run_depth import depth_metadata
from lanemesh._grpc.traceparent import trace_metadata
from lanemesh.client.calls import call_fault
from lanemesh.client.specs import wire_text
from lanemesh.client.tools import DEPLOYMENT_KEY, LIST_SECONDS, MeshTool, decode_tools
from lanemesh.faults import LanemeshError
from lanemesh.v1 import control_pb2, control_pb2_grpc

log = logging.getLogger("lanemesh.client")


async def list_tools(
    channel: grpc.aio.Channel, call: Callable[[Any], Awaitable[Any]], deployment: str
) -> list[MeshTool]:
    """The tools of a deployed pipeline, or of all. `call` awaits a call, and raises LanemeshError if it fails."""
    stub: Any = control_pb2_grpc.ToolServiceStub(channel)
    request = control_pb2.ListToolsRequest()
    response = await call(stub.ListTools(request, timeout=LIST_SECONDS + 10, metadata=_metadata(deployment)))
    for one in response.unlisted:
        log.warning("the tools of %s cannot be listed: %s", one.deployment, one.fault.message)
    return decode_tools(response)


async def call_tool(
    channel: grpc.aio.Channel, address: str, deployment: str, request: control_pb2.CallToolRequest
) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
    """Calls a tool: any progress, then a result. Leaving the iteration cancels the call. Raises LanemeshError if it fails."""
    stub: Any = control_pb2_grpc.ToolServiceStub(channel)
    call = stub.CallTool(request, metadata=_metadata(deployment))
    try:
        async for piece in call:
            yield piece
    except grpc.aio.AioRpcError as error:
        raise LanemeshError(call_fault(error, address)) from None
    finally:
        call.cancel()


def _metadata(deployment: str) -> tuple[tuple[str, str], ...]:
    named = ((DEPLOYMENT_KEY, wire_text(deployment, "the name of a deployed pipeline")),) if deployment else ()
    return (*named, *trace_metadata(), *depth_metadata())
