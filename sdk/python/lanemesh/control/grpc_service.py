"""Serves the helpers of a node server over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias

import grpc
import grpc.aio

from lanemesh._aio.eager import EagerCoroutine
from lanemesh._aio.time_left import begin_limit, end_limit, within_seconds
from lanemesh._grpc.status import abort
from lanemesh._grpc.writing import write
from lanemesh.control.connection import COMPONENT_KEY, RUN_KEY
from lanemesh.control.ends import Ending, begin_answer, ends_of
from lanemesh.control.grpc_methods import GrpcMethod, methods_of
from lanemesh.control.instance import HelperInstance, HelperLookup
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HelperKind

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

END_SECONDS = 0.02
"""How long the last piece of an answer waits for the end of its node, in seconds."""


def helper_service(kind: HelperKind, helpers: HelperLookup) -> grpc.GenericRpcHandler:
    """The service of a kind, for the helpers of a server. Its module is imported by the first call, not by an idle server."""
    return _HelperService(kind, helpers)


class _HelperService(grpc.ServiceRpcHandler):
    """The handlers of a kind's methods, which the first call of each makes."""

    def __init__(self, kind: HelperKind, helpers: HelperLookup) -> None:
        self._kind = kind
        self._helpers = helpers
        self._methods = {method.path: (name, method) for name, method in methods_of(kind).items()}
        self._handlers: dict[str, Handler] = {}

    def service_name(self) -> str:
        """The full name of the service."""
        return self._kind.service

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a method; None if the service does not have it."""
        path = handler_call_details.method
        if path not in self._handlers and path in self._methods:
            self._handlers[path] = self._handler(*self._methods[path])
        return self._handlers.get(path)

    def _handler(self, name: str, method: GrpcMethod) -> Handler:
        read = method.request.FromString
        answer = ends_of(self._kind).answers.get(name)
        if answer is not None and answer.ending is not None:
            to_end = partial(_stream_to_end, self._kind, self._helpers, name, answer.ending)
            return grpc.unary_unary_rpc_method_handler(to_end, request_deserializer=read)
        behave: Any = partial(_stream if method.streams else _respond, self._kind, self._helpers, name)
        make: Any = grpc.unary_stream_rpc_method_handler if method.streams else grpc.unary_unary_rpc_method_handler
        serialize = method.response.SerializeToString
        handler: Handler = make(behave, request_deserializer=read, response_serializer=serialize)
        return handler


async def _respond(kind: HelperKind, helpers: HelperLookup, method: str, request: Any, context: Call) -> Any:
    async with _Serving(helpers, context) as helper:
        return await begin_answer(kind, method, helper, request)


async def _stream(kind: HelperKind, helpers: HelperLookup, method: str, request: Any, context: Call) -> None:
    """Pieces are written, not yielded, so that a cancelled call closes the helper's generator at once, at any point."""
    async with _Serving(helpers, context) as helper, aclosing(begin_answer(kind, method, helper, request)) as pieces:
        async for piece in pieces:
            await write(context, piece)


async def _stream_to_end(
    kind: HelperKind, helpers: HelperLookup, method: str, ending: Ending, request: Any, context: Call
) -> bytes:
    """Streams an answer that has a last piece, which is returned: gRPC sends it together with the status, in one frame.

    To gRPC this is the handler of a method that does not stream. On the wire there is no difference.
    """
    async with _Serving(helpers, context) as helper, aclosing(begin_answer(kind, method, helper, request)) as pieces:
        async for piece in pieces:
            message: bytes = piece.SerializeToString()
            if ending.is_last(piece):
                await _finish(pieces, context, message)
                return message
            await write(context, message)
        raise ending.missing(helper, request)


async def _finish(pieces: AsyncGenerator[Any, None], context: Call, last: bytes) -> None:
    """Lets an answer continue after its last piece up to its end, as after its other pieces.

    The piece is sent before the end if that takes longer than 20 ms, or fails. A handler that does not stream has to return a
    message, so that in the first case the caller gets this piece twice.
    """
    rest = EagerCoroutine(_ended(pieces))
    if rest.succeeded:
        return
    sending: list[EagerCoroutine] = []

    def send() -> None:
        if not sending:
            sending.append(EagerCoroutine(write(context, last)))

    timer = asyncio.get_running_loop().call_later(END_SECONDS, send)
    try:
        await rest
    except BaseException:
        send()
        raise
    finally:
        timer.cancel()
        for begun in sending:
            await begun


async def _ended(pieces: AsyncGenerator[Any, None]) -> None:
    async for _ in pieces:
        return


class _Serving:
    """The call of a helper. Yields the helper that the call's metadata name; a fault in the body ends the call with that fault. A
    class and not a generator: each call enters it."""

    __slots__ = ("_context", "_helper", "_helpers", "_limit", "_task")

    def __init__(self, helpers: HelperLookup, context: Call) -> None:
        self._helpers = helpers
        self._context = context

    async def __aenter__(self) -> HelperInstance:
        run_id = component = ""
        for key, value in self._context.invocation_metadata() or ():
            if key == RUN_KEY:
                run_id = _text(value)
            elif key == COMPONENT_KEY:
                component = _text(value)
        helper = self._helpers.find_helper(run_id, component)
        if helper is None:
            await abort(self._context, _unknown(run_id, component))
        self._helper = helper
        self._task = helper.begin_remote_call()
        self._limit = begin_limit(within_seconds(self._context.time_remaining()))
        return helper

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end_limit(self._limit)
        self._helper.end_remote_call(self._task)
        if isinstance(error, LanemeshError):
            await abort(self._context, error.fault)
        elif isinstance(error, asyncio.CancelledError) and self._helper.closed and not self._context.cancelled():
            self._task.uncancel()  # the helper was closed, the call was not cancelled: its caller gets the fault
            await abort(self._context, self._helper.closed_fault())


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
