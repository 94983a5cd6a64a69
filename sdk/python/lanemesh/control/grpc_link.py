"""The link to helpers of other processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import nullcontext
from typing import Any

import grpc
import grpc.aio

from lanemesh._aio.time_left import call_seconds
from lanemesh._grpc.status import fault_of
from lanemesh._grpc.tls_errors import with_hint
from lanemesh._grpc.traceparent import TRACEPARENT_KEY
from lanemesh.control.connection import (
    CALL_SECONDS,
    COMPONENT_KEY,
    REACH_SECONDS,
    RUN_KEY,
    Connection,
    Waiting,
)
from lanemesh.control.grpc_methods import methods_of
from lanemesh.faults import Code, LanemeshError
from lanemesh.helper_kinds import HelperKind


class GrpcLink:
    """The link to a helper of another process."""

    def __init__(
        self,
        kind: HelperKind,
        channel: grpc.aio.Channel,
        run_id: str,
        component: str,
        timeout: float | None = CALL_SECONDS,
        *,
        invoker: str = "",
        address: str = "",
        waiting: Waiting | None = None,
        reach_seconds: float = REACH_SECONDS,
        traceparent: str = "",
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        """A link to one helper.

        Args:
            kind: its kind.
            channel: leads to the helper's server; the caller closes it.
            run_id: the run; empty outside of a run.
            component: the helper's component; empty: the server has just one.
            timeout: seconds for a call, unless the call has its own limit; None: no limit. The gRPC deadline is this limit, or the
                remaining time of the run or of the calling firing if that is shorter.
            invoker: the calling component, for errors.
            address: the address of the channel, for errors.
            waiting: entered around each wait on the helper.
            reach_seconds: longest wait of `reach`.
            traceparent: the trace that the calls belong to; empty: none.
            metadata: further metadata of each call.
        """
        self.connection = Connection(class_type=kind.name, helper=component, invoker=invoker, address=address)
        self._methods = methods_of(kind)
        self._channel = channel
        trace = ((TRACEPARENT_KEY, traceparent),) if traceparent else ()
        named = [(key, value) for key, value in ((RUN_KEY, run_id), (COMPONENT_KEY, component)) if value]
        self._metadata = grpc.aio.Metadata(*named, *trace, *metadata)
        self._timeout = timeout
        self._waiting: Waiting = waiting if waiting is not None else nullcontext
        self._begins: dict[str, Any] = {}
        """What begins calls, by method."""
        self._reach_seconds = reach_seconds

    async def reach(self) -> None:
        """Waits until the channel is ready."""
        try:
            async with asyncio.timeout(self._reach_seconds):
                await self._channel.channel_ready()
        except TimeoutError:
            raise self.connection.unreachable(f"no connection within {self._reach_seconds:g} s") from None

    async def stream(self, method: str, request: Any, timeout: float | None = None) -> AsyncGenerator[Any, None]:
        """Calls a method that streams."""
        seconds = self._seconds(timeout)
        call = self._begin(method, self._channel.unary_stream)(request, timeout=seconds, metadata=self._metadata)
        pieces = aiter(call)
        try:
            while True:
                async with self._waiting():
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield piece
        except grpc.aio.AioRpcError as error:
            raise self._error(error, seconds) from None
        finally:
            call.cancel()  # this has no effect if it has ended

    async def call(self, method: str, request: Any, timeout: float | None = None) -> Any:
        """Calls a method that returns one response."""
        begin = self._begin(method, self._channel.unary_unary)
        async with self._waiting():
            seconds = self._seconds(timeout)
            try:
                return await begin(request, timeout=seconds, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise self._error(error, seconds) from None

    def _begin(self, method: str, kind: Callable[..., Any]) -> Any:
        """What begins calls of a method; made once."""
        begin = self._begins.get(method)
        if begin is None:
            rpc = self._methods[method]
            begin = self._begins[method] = kind(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
        return begin

    def _seconds(self, timeout: float | None) -> float | None:
        return call_seconds(self._timeout if timeout is None else timeout)

    def _error(self, error: grpc.aio.AioRpcError, timeout: float | None) -> LanemeshError:
        fault = fault_of(error)
        if fault is not None:
            return LanemeshError(fault)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self.connection.timed_out(timeout)
        code = Code(error.code().value[0])
        broken = code in (Code.UNAVAILABLE, Code.CANCELLED)  # usually the helper's server or run is gone
        what = f"{with_hint(error.details() or 'no reason given')} ({code.name})"
        reason = "helper-unreachable" if broken else "helper-error"
        return LanemeshError(self.connection.fault(code, reason, what, secondary=broken))
