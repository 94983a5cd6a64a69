"""Open streams of callers: they end when the token with which they were opened is not accepted any more."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from lanemesh._grpc.auth.callers import Caller
from lanemesh._grpc.auth.refusals import Refusal, RefusalLog, TokenRefused, refusal_fault, scope_fault
from lanemesh._grpc.auth.scopes import Scope, scopes_of
from lanemesh._grpc.auth.tokens import AcceptedTokens
from lanemesh._grpc.status import abort
from lanemesh.faults import Fault

CHECK_SECONDS = 1.0
"""Time between two checks of the tokens of open streams."""

log = logging.getLogger("lanemesh.auth")


@dataclass(slots=True, eq=False)
class _Stream:
    """An open stream."""

    method: str
    peer: str
    task: asyncio.Task[Any]
    fault: Fault | None = None
    """Why it ends."""

    def end(self, fault: Fault) -> None:
        """Cancels its handler; the status of its call is the fault."""
        if self.fault is None:
            self.fault = fault
            self.task.cancel()


class OpenStreams:
    """Ends the streams whose tokens expire, are removed, or lose the scope of the method.

    Streams that a caller opens as a member of the mesh (`node`) go on: the tokens of processes are replaced while runs go on.
    """

    def __init__(self, tokens: AcceptedTokens, refusals: RefusalLog) -> None:
        self._tokens = tokens
        self._refusals = refusals
        self._streams: dict[str, set[_Stream]] = {}
        """By their tokens."""
        self._watching: asyncio.Task[None] | None = None

    def guarded(self, handler: Any, token: str, caller: Caller, method: str) -> Any:
        """The handler of a call. If that is a stream, it ends with its token."""
        is_member = Scope.NODE in caller.scopes and Scope.NODE in scopes_of(method)
        if handler is None or is_member or not (handler.request_streaming or handler.response_streaming):
            return handler
        if handler.request_streaming:
            behavior = handler.stream_stream if handler.response_streaming else handler.stream_unary
        else:
            behavior = handler.unary_stream
        make = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
        return make(
            self._guard(behavior, token, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guard(self, behavior: Any, token: str, method: str) -> Any:
        async def stream(request: Any, context: Any) -> Any:
            opened = self._open(token, method, context)
            try:
                return await behavior(request, context)
            except asyncio.CancelledError:
                if opened.fault is None:
                    raise
            finally:
                await self._close(token, opened)
                await _end(opened, context)

        async def generate(request: Any, context: Any) -> Any:
            opened = self._open(token, method, context)
            try:
                async for response in behavior(request, context):
                    yield response
            except asyncio.CancelledError:
                if opened.fault is None:
                    raise
            finally:
                await self._close(token, opened)
                await _end(opened, context)

        return generate if inspect.isasyncgenfunction(behavior) else stream

    def _open(self, token: str, method: str, context: Any) -> _Stream:
        task = asyncio.current_task()
        assert task is not None, "gRPC calls handlers in tasks"
        opened = _Stream(method, context.peer() or "", task)
        self._streams.setdefault(token, set()).add(opened)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="tokens of open streams")
        return opened

    async def _close(self, token: str, stream: _Stream) -> None:
        streams = self._streams[token]
        streams.discard(stream)
        if not streams:
            del self._streams[token]
        watching = self._watching
        if watching is not None and not self._streams:
            self._watching = None
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for token in list(self._streams):
                try:
                    await self._check(token)
                except Exception:
                    log.exception("the token of an open stream cannot be checked")

    async def _check(self, token: str) -> None:
        """Ends the streams of a token that is not accepted any more. Those of one that cannot be verified now go on until it
        expires."""
        caller, refusal = None, Refusal.INVALID
        try:
            caller = self._tokens.verified(token) or await self._tokens.verify(token)
        except TokenRefused as refused:
            refusal = refused.refusal
            if refusal is Refusal.UNVERIFIABLE:
                if self._tokens.now() < self._tokens.expiry(token):
                    return
                refusal = Refusal.EXPIRED
        for stream in list(self._streams.get(token, ())):
            scopes = scopes_of(stream.method)
            if caller is None:
                fault = refusal_fault(refusal)
            elif not caller.may(*scopes):
                fault, refusal = scope_fault(caller, stream.method, scopes), Refusal.SCOPE
            else:
                continue
            self._refusals.add(refusal, stream.method, stream.peer)
            stream.end(fault)


async def _end(stream: _Stream, context: Any) -> None:
    """Ends the call with the fault of its stream, if it has one."""
    if stream.fault is not None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # the handler may have ended before its cancellation
        stream.task.uncancel()
        await abort(context, stream.fault)


_MAKERS: dict[tuple[bool, bool], Any] = {
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
