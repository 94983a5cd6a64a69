"""Requires a token of each call, and of its caller the scope of the method."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from lanemesh._grpc.auth.callers import AUTHENTICATED
from lanemesh._grpc.auth.refusals import Refusal, RefusalLog, TokenRefused, refusal_fault, scope_fault
from lanemesh._grpc.auth.scopes import needs_token, scopes_of
from lanemesh._grpc.auth.streams import OpenStreams
from lanemesh._grpc.auth.tokens import AcceptedTokens
from lanemesh._grpc.bearer import KEY
from lanemesh._grpc.caller import CALLER
from lanemesh._grpc.status import abort
from lanemesh.faults import Fault

QUIET_SECONDS = 0.05
"""How long a refused stream has to send nothing before it is ended: a client that writes meanwhile would see INTERNAL instead."""
REFUSAL_SECONDS = 1.0
"""Longest time until a refused stream is ended."""
BEARER = "bearer "


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Ends calls without an accepted token with UNAUTHENTICATED, and those outside the scopes of their caller with
    PERMISSION_DENIED."""

    def __init__(self, tokens: AcceptedTokens) -> None:
        self._tokens = tokens
        self._log = RefusalLog()
        self._streams = OpenStreams(tokens, self._log)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, or one that refuses it."""
        method = handler_call_details.method
        if not needs_token(method):
            return await continuation(handler_call_details)
        try:
            token = _token(handler_call_details.invocation_metadata)
            caller = self._tokens.verified(token) or await self._tokens.verify(token)
        except TokenRefused as refused:
            fault, refusal = refusal_fault(refused.refusal), refused.refusal
        else:
            scopes = scopes_of(method)
            if caller.may(*scopes):
                AUTHENTICATED.set(caller)
                CALLER.set(caller.id)
                handler = await continuation(handler_call_details)
                return self._streams.guarded(handler, token, caller, method)
            fault, refusal = scope_fault(caller, method, scopes), Refusal.SCOPE
        return self._refusing(await continuation(handler_call_details), fault, refusal, method)

    def _refusing(self, handler: Any, fault: Fault, refusal: Refusal, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler with the streams of the method's own."""

        async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            self._log.add(refusal, method, context.peer())
            if handler is not None and handler.request_streaming:
                await _until_quiet(context)
            await abort(context, fault)

        kinds: dict[tuple[bool, bool], Any] = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        kind = (
            (False, False) if handler is None else (bool(handler.request_streaming), bool(handler.response_streaming))
        )
        made: grpc.RpcMethodHandler[Any, Any] = kinds[kind](refuse)
        return made


def _token(metadata: Any) -> str:
    """The token of a call. Raises TokenRefused without one."""
    for key, value in metadata or ():
        if key == KEY:
            text = value if isinstance(value, str) else ""
            if text[: len(BEARER)].lower() != BEARER or not (token := text[len(BEARER) :].strip()):
                raise TokenRefused(Refusal.MISSING)
            if not token.isascii():
                raise TokenRefused(Refusal.INVALID)
            return token
    raise TokenRefused(Refusal.MISSING)


async def _until_quiet(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Reads and discards what the client sends, until it has sent something and then nothing for a moment."""
    loop = asyncio.get_running_loop()
    end, quiet = loop.time() + REFUSAL_SECONDS, REFUSAL_SECONDS
    while (left := end - loop.time()) > 0:
        reading = asyncio.ensure_future(context.read())
        done, _ = await asyncio.wait({reading}, timeout=min(quiet, left))
        if not done:
            reading.add_done_callback(_discard)  # it ends with the call
            return
        if reading.exception() is not None or reading.result() is grpc.aio.EOF:
            return
        quiet = QUIET_SECONDS


def _discard(reading: asyncio.Future[Any]) -> None:
    if not reading.cancelled():
        reading.exception()
