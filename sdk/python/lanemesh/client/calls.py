"""Calls to an orchestrator: how long they may take, and what a failed one tells."""

from __future__ import annotations

import grpc.aio

from lanemesh.control.grpc_status import fault_of
from lanemesh.lanes.faults import Code, Fault

CALL_SECONDS = 30.0
"""Longest that a short call may take."""


def call_fault(error: grpc.aio.AioRpcError, address: str) -> Fault:
    """The fault that a failed call to an orchestrator tells of."""
    fault = fault_of(error)
    if fault is not None:
        return fault
    code = Code(error.code().value[0])
    if code is Code.UNAVAILABLE:
        message = (
            f"the orchestrator at {address} cannot be reached: {error.details()}. Is `lanemesh serve` running there?"
        )
        return Fault(code=code, reason="unreachable", message=message)
    return Fault(
        code=code,
        reason="call-failed",
        message=f"the orchestrator at {address} answered {code.name}: {error.details()}",
    )
