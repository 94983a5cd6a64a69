"""Models and tools that live in another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from typing import TypeVar

import grpc
import grpc.aio

from lanemesh._aio.time_left import call_seconds
from lanemesh._grpc.status import fault_of
from lanemesh._grpc.traceparent import TRACEPARENT_KEY
from lanemesh.control.connection import (
    CALL_SECONDS,
    COMPONENT_KEY,
    REACH_SECONDS,
    RUN_KEY,
    Connection,
    Waiting,
    relay,
)
from lanemesh.control.llm import LlmClient
from lanemesh.control.tools import call_timeout
from lanemesh.faults import Code, LanemeshError
from lanemesh.v1 import control_pb2, control_pb2_grpc

P = TypeVar("P")
Q = TypeVar("Q")


class _GrpcClient:
    """What both clients have: the channel, the metadata, the errors."""

    class_type = ""

    def __init__(
        self,
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
    ) -> None:
        """A client of one helper.

        Args:
            channel: leads to the helper's server; the caller closes it.
            run_id: the run; empty outside any.
            component: the helper's component.
            timeout: seconds that a call may take; None for no bound. Its gRPC deadline is this, or what is left of the run
                and of the firing that calls if that is less.
            invoker: the calling component, for errors.
            address: where the channel leads, for errors.
            waiting: entered around each wait on the helper.
            reach_seconds: longest that `reach` waits.
            traceparent: the trace that the calls belong to; empty: none.
        """
        self.connection = Connection(class_type=self.class_type, helper=component, invoker=invoker, address=address)
        self._channel = channel
        trace = ((TRACEPARENT_KEY, traceparent),) if traceparent else ()
        self._metadata = ((RUN_KEY, run_id), (COMPONENT_KEY, component), *trace)
        self._timeout = timeout
        self._waiting = waiting
        self._reach_seconds = reach_seconds

    async def reach(self) -> None:
        """Waits until the channel is ready. Raises LanemeshError that names helper, invoker and address."""
        try:
            async with asyncio.timeout(self._reach_seconds):
                await self._channel.channel_ready()
        except TimeoutError:
            raise self.connection.unreachable(f"no connection within {self._reach_seconds:g} s") from None

    async def _pieces(
        self, method: grpc.aio.UnaryStreamMultiCallable[Q, P], request: Q, timeout: float | None
    ) -> AsyncGenerator[P, None]:
        timeout = call_seconds(timeout)
        call = method(request, timeout=timeout, metadata=self._metadata)
        try:
            async for piece in call:
                yield piece
        except grpc.aio.AioRpcError as error:
            raise self._error(error, timeout) from None
        finally:
            call.cancel()  # nothing happens if it has ended

    def _error(self, error: grpc.aio.AioRpcError, timeout: float | None) -> LanemeshError:
        fault = fault_of(error)
        if fault is not None:
            return LanemeshError(fault)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self.connection.timed_out(timeout)
        code = Code(error.code().value[0])
        broken = code in (Code.UNAVAILABLE, Code.CANCELLED)  # most often the helper's server or run has gone
        what = f"{error.details() or 'no reason given'} ({code.name})"
        reason = "helper-unreachable" if broken else "helper-error"
        return LanemeshError(self.connection.fault(code, reason, what, secondary=broken))


class GrpcLlmClient(_GrpcClient, LlmClient):
    """A model that lives in another process."""

    class_type = "llm"

    def generate(self, request: control_pb2.GenerateRequest) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """One turn of the conversation, as it is written. Leaving the iteration cancels the generation at the helper."""
        method = control_pb2_grpc.LlmServiceStub(self._channel).Generate
        return relay(self._pieces(method, request, self._timeout), self.connection, waiting=self._waiting)


class GrpcToolClient(_GrpcClient):
    """The tools of a helper that lives in another process."""

    class_type = "tool"

    async def list(self) -> list[control_pb2.ToolSpec]:
        """Its tools."""
        method = control_pb2_grpc.ToolServiceStub(self._channel).ListTools
        request = control_pb2.ListToolsRequest()
        async with self._waiting() if self._waiting is not None else nullcontext():
            timeout = call_seconds(REACH_SECONDS)
            try:
                response = await method(request, timeout=timeout, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise self._error(error, timeout) from None
        return list(response.tools)

    def call(self, request: control_pb2.CallToolRequest) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls one of them. Leaving the iteration cancels the call at the helper."""
        method = control_pb2_grpc.ToolServiceStub(self._channel).CallTool
        timeout = call_timeout(request, self._timeout)
        return relay(self._pieces(method, request, timeout), self.connection, waiting=self._waiting)

    async def reach(self) -> None:
        """Waits until the channel is ready, and lists the tools."""
        await super().reach()
        await self.list()
