"""Limits the calls that one caller has at a time, on servers that know their callers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from lanemesh._grpc.caller import current_caller
from lanemesh._grpc.log_once import LogOnce
from lanemesh._grpc.status import abort
from lanemesh.faults import Code, Fault

refusals = LogOnce(logging.getLogger("lanemesh.grpc"))


class CallLimit(grpc.aio.ServerInterceptor):
    """Refuses further calls of a caller that has the maximum number. Put it after what finds out who the caller is: that sets
    `CALLER`. Calls without a caller are limited by the number of all calls alone."""

    def __init__(self, limit: int) -> None:
        """`limit`: calls at a time of one caller; 0: no limit."""
        self._limit = limit
        self._active: Counter[str] = Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Counts a call until its task ends, or refuses it."""
        caller, task = current_caller(), asyncio.current_task()
        if not caller or not self._limit or task is None:
            return await continuation(handler_call_details)
        if self._active[caller] >= self._limit:
            return self._refusal(caller)
        self._active[caller] += 1
        task.add_done_callback(lambda _: self._ended(caller))
        return await continuation(handler_call_details)

    def _ended(self, caller: str) -> None:
        self._active[caller] -= 1
        if not self._active[caller]:
            del self._active[caller]

    def _refusal(self, caller: str) -> grpc.RpcMethodHandler[Any, Any]:
        message = f'the caller "{caller}" has {self._limit} calls, the limit for one caller. Retry when some have ended'
        refusals.warning(caller, "%s (calls-per-caller)", message)
        fault = Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many-calls", message=message)

        async def refuse(requests: object, context: Any) -> None:
            await abort(context, fault)

        return grpc.stream_stream_rpc_method_handler(refuse)
