"""ToolService of the orchestrator, over gRPC: the tools of deployed pipelines, for callers outside any run."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from lanemesh._grpc.run_depth import depth_of
from lanemesh._grpc.status import abort
from lanemesh._grpc.traceparent import traceparent_of
from lanemesh._grpc.writing import write
from lanemesh.client.tools import DEPLOYMENT_KEY
from lanemesh.control.connection import RUN_KEY
from lanemesh.faults import LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.v1 import control_pb2

from lanemesh_orchestrator.audit import audited

if TYPE_CHECKING:
    from lanemesh_orchestrator.tools.tools import MeshTools

Context = grpc.aio.ServicerContext[Any, Any]


class ToolHandlers(grpc.GenericRpcHandler):
    """Handles the calls of ToolService that name no run. Calls that name one are for the helpers of that run."""

    def __init__(self, tools: MeshTools) -> None:
        self._tools = tools
        service = HELPER_KINDS["tool"].service
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            f"/{service}/ListTools": grpc.unary_unary_rpc_method_handler(
                self._list,
                control_pb2.ListToolsRequest.FromString,
                control_pb2.ListToolsResponse.SerializeToString,
            ),
            f"/{service}/CallTool": grpc.unary_stream_rpc_method_handler(
                self._call,
                control_pb2.CallToolRequest.FromString,
                control_pb2.CallToolResponse.SerializeToString,
            ),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call; None if it is not one of these."""
        if any(key == RUN_KEY and value for key, value in handler_call_details.invocation_metadata or ()):
            return None
        return self._handlers.get(handler_call_details.method)

    async def _list(self, request: control_pb2.ListToolsRequest, context: Context) -> control_pb2.ListToolsResponse:
        try:
            metadata = context.invocation_metadata()
            return await self._tools.list(_deployment(metadata), depth=depth_of(metadata))
        except LanemeshError as error:
            await abort(context, error.fault)

    async def _call(self, request: control_pb2.CallToolRequest, context: Context) -> None:
        """Pieces are written, not yielded, so that a cancelled call cancels its run at any point."""
        metadata = context.invocation_metadata()
        deployment = _deployment(metadata)
        pieces = self._tools.call(deployment, request, traceparent_of(metadata), depth_of(metadata))
        act = audited(context, "ToolService.CallTool", deployment=deployment, tool=request.name)
        async with act, aclosing(pieces):
            async for piece in pieces:
                await write(context, piece)


def _deployment(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    value = dict(metadata or ()).get(DEPLOYMENT_KEY, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
