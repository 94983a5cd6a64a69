"""Serves the helpers of a node server over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import grpc.aio

from lanemesh._aio.time_left import within, within_seconds
from lanemesh._grpc.status import abort
from lanemesh._grpc.writing import write
from lanemesh.control.connection import COMPONENT_KEY, RUN_KEY
from lanemesh.control.instance import HelperInstance, HelperLookup
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import control_pb2, control_pb2_grpc

P = TypeVar("P")


class _Servicer:
    """What both servicers have: they find the helper, and end calls with its faults."""

    def __init__(self, helpers: HelperLookup) -> None:
        self._helpers = helpers

    @asynccontextmanager
    async def _serving(self, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[HelperInstance]:
        """The helper that the call's metadata mean. A fault in the body ends the call with it."""
        metadata = dict(context.invocation_metadata() or ())
        run_id, component = _text(metadata.get(RUN_KEY)), _text(metadata.get(COMPONENT_KEY))
        helper = self._helpers.find_helper(run_id, component)
        if helper is None:
            await abort(context, _unknown(run_id, component))
        try:
            with helper.serving(), within(within_seconds(context.time_remaining())):
                yield helper
        except LanemeshError as error:
            await abort(context, error.fault)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not helper.closed or task is None or context.cancelled():
                raise
            task.uncancel()  # the helper was closed, not the call cancelled: its caller shall hear of it
            await abort(context, helper.closed_fault())


class LlmServicer(_Servicer, control_pb2_grpc.LlmServiceServicer):
    """`LlmService` over the models of this server."""

    async def Generate(  # type: ignore[override]
        self,
        request: control_pb2.GenerateRequest,
        context: grpc.aio.ServicerContext[control_pb2.GenerateRequest, control_pb2.GenerateResponse],
    ) -> None:
        """One turn, streamed."""
        async with self._serving(context) as helper:
            await _write(helper.generate(request), context)


class ToolServicer(_Servicer, control_pb2_grpc.ToolServiceServicer):
    """`ToolService` over the tools of this server."""

    async def ListTools(
        self,
        request: control_pb2.ListToolsRequest,
        context: grpc.aio.ServicerContext[control_pb2.ListToolsRequest, control_pb2.ListToolsResponse],
    ) -> control_pb2.ListToolsResponse:
        """The helper's tools."""
        async with self._serving(context) as helper:
            return control_pb2.ListToolsResponse(tools=await helper.list_tools())

    async def CallTool(  # type: ignore[override]
        self,
        request: control_pb2.CallToolRequest,
        context: grpc.aio.ServicerContext[control_pb2.CallToolRequest, control_pb2.CallToolResponse],
    ) -> None:
        """One call, streamed."""
        async with self._serving(context) as helper:
            await _write(helper.call_tool(request), context)


async def _write(pieces: AsyncGenerator[P, None], context: grpc.aio.ServicerContext[Any, P]) -> None:
    """Written rather than yielded, so that a cancelled call closes the helper's generator at once, wherever it stands."""
    async with aclosing(pieces):
        async for piece in pieces:
            await write(context, piece)


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def _unknown(run_id: str, component: str) -> Fault:
    meant = f'the component "{component}" of the run "{run_id}"' if run_id or component else "no component"
    return Fault(
        code=Code.NOT_FOUND,
        reason="unknown-helper",
        message=f"the call's metadata name {meant}, which is not a helper on this server. Set {RUN_KEY} and {COMPONENT_KEY} "
        "from the plan of the run; a helper exists only during its run",
        details={"run": run_id, "component": component},
    )
