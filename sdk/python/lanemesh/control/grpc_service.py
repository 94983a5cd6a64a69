"""Serves the helpers of a node server over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import grpc
import grpc.aio

from lanemesh._aio.time_left import within, within_seconds
from lanemesh._grpc.status import abort
from lanemesh._grpc.writing import write
from lanemesh.control.connection import COMPONENT_KEY, RUN_KEY
from lanemesh.control.ends import begin_answer
from lanemesh.control.grpc_methods import GrpcMethod, methods_of
from lanemesh.control.instance import HelperInstance, HelperLookup
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HelperKind

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def helper_service(kind: HelperKind, helpers: HelperLookup) -> grpc.GenericRpcHandler:
    """The service of a kind, for the helpers of a server. Its module is imported by the first call, not by an idle server."""
    handlers = {
        name: _handler(method, partial(_stream if method.streams else _respond, kind, helpers, name))
        for name, method in methods_of(kind).items()
    }
    return grpc.method_handlers_generic_handler(kind.service, handlers)


def _handler(method: GrpcMethod, behave: Callable[[Any, Any], Awaitable[Any]]) -> Handler:
    make: Any = grpc.unary_stream_rpc_method_handler if method.streams else grpc.unary_unary_rpc_method_handler
    handler: Handler = make(
        behave,
        request_deserializer=method.request.FromString,
        response_serializer=method.response.SerializeToString,
    )
    return handler


async def _respond(kind: HelperKind, helpers: HelperLookup, method: str, request: Any, context: Call) -> Any:
    async with _serving(helpers, context) as helper:
        return await begin_answer(kind, method, helper, request)


async def _stream(kind: HelperKind, helpers: HelperLookup, method: str, request: Any, context: Call) -> None:
    """Pieces are written, not yielded, so that a cancelled call closes the helper's generator at once, at any point."""
    async with _serving(helpers, context) as helper, aclosing(begin_answer(kind, method, helper, request)) as pieces:
        async for piece in pieces:
            await write(context, piece)


@asynccontextmanager
async def _serving(helpers: HelperLookup, context: Call) -> AsyncIterator[HelperInstance]:
    """The helper that the call's metadata name. A fault in the body ends the call with that fault."""
    metadata = dict(context.invocation_metadata() or ())
    run_id, component = _text(metadata.get(RUN_KEY)), _text(metadata.get(COMPONENT_KEY))
    helper = helpers.find_helper(run_id, component)
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
        task.uncancel()  # the helper was closed, the call was not cancelled: its caller gets the fault
        await abort(context, helper.closed_fault())


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
