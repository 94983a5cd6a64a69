"""Calls of clients for active runs of other orchestrators that share the store: they are forwarded to the owner of the run."""

from __future__ import annotations

from typing import Any

import grpc.aio
from lanemesh._grpc.bearer import KEY, token_of_caller
from lanemesh._grpc.connections import ConnectionPool
from lanemesh._grpc.security import Security
from lanemesh._grpc.status import fault_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import run_pb2_grpc

from lanemesh_orchestrator.runs.records import History

FORWARD_SECONDS = 30.0
"""Longest time of a forwarded call, if its caller has set none. `PushInput` may then wait as long as its caller does."""
RECORD_SECONDS = 2.0
"""Longest time of a forwarded `GetRun`: the record of the store is used if the owner does not answer."""
FORWARDED = "lanemesh-forwarded"
"""The metadata of a forwarded call, which is not forwarded again."""

Context = grpc.aio.ServicerContext[Any, Any]


class Elsewhere:
    """Forwards calls to the owners of runs, with the token of the caller."""

    def __init__(self, history: History, security: Security | None = None) -> None:
        """`security`: TLS of the connections to other orchestrators."""
        self._history = history
        self._pool = ConnectionPool(security=security)
        self._pool.forward_tokens()

    async def forward(self, method: str, request: Any, context: Context) -> Any:
        """The response of the orchestrator that runs the run of a request; None if it is not active elsewhere, or if that one does
        not answer `GetRun`. The store has the record as well, so that reading it neither waits for an owner that may be gone, nor
        writes to the store.

        Raises:
            LanemeshError: the call failed there, or that orchestrator cannot be reached, or serves no calls ("run-elsewhere").
        """
        address = await self._history.elsewhere(request.run_id)
        if address is None:
            return None
        metadata = dict(context.invocation_metadata() or ())
        reason = ""
        if address and FORWARDED not in metadata:
            seconds = context.time_remaining()
            if method == "GetRun":
                seconds = RECORD_SECONDS if seconds is None else min(RECORD_SECONDS, seconds / 2)
            elif seconds is None and method != "PushInput":
                seconds = FORWARD_SECONDS
            scheme, _, token = str(metadata.get(KEY, "")).partition(" ")
            try:
                with token_of_caller(token.strip() if scheme.lower() == "bearer" else ""):
                    stub = run_pb2_grpc.RunServiceStub(self._pool.channel(address))
                    call = getattr(stub, method)(request, timeout=seconds, metadata=((FORWARDED, "1"),))
                return await call
            except grpc.aio.AioRpcError as error:
                fault = fault_of(error)
                if fault is not None:
                    raise LanemeshError(fault) from None
                reason = error.details() or error.code().name
        if method == "GetRun":
            return None
        await self._history.end_lost()  # its owner may have ended
        if await self._history.elsewhere(request.run_id) is None:
            return None
        raise LanemeshError(elsewhere_fault(request.run_id, address, reason))

    async def close(self) -> None:
        """Closes its connections."""
        await self._pool.close()


def elsewhere_fault(run_id: str, address: str, reason: str = "") -> Fault:
    """The fault of a call for a run of another owner of the store. `reason`: why the call could not be forwarded to its address."""
    if not address:
        message = f'the run "{run_id}" is active in another process of this store, which serves no calls. End it in that process'
        return Fault(code=Code.FAILED_PRECONDITION, reason="run-elsewhere", message=message)
    why = f", which cannot be reached from here: {reason}" if reason else ""
    message = (
        f'the run "{run_id}" is active at the orchestrator {address}{why}. Call that one, or see that --advertise gives an address '
        "of each orchestrator of a shared store which the others reach"
    )
    return Fault(code=Code.UNAVAILABLE, reason="run-elsewhere", message=message, details={"address": address})
