"""Faults as rich gRPC errors, and back (https://grpc.io/docs/guides/error/#richer-error-model)."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import grpc.aio
from google.rpc import status_pb2

from lanemesh.faults import Code, Fault

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata key of a `google.rpc.Status`."""
_DETAILS_TEXT = 500
"""Maximum length of the plain message beside the status, in characters: it is percent-encoded, and the status has the complete
one."""

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


async def abort(context: grpc.aio.ServicerContext[Any, Any], fault: Fault) -> NoReturn:
    """Ends a call with a fault: its code and message for any client, the whole of it in the trailing metadata for ours."""
    fault = fault.bounded()
    code = _CODES[int(fault.code) or int(Code.UNKNOWN)]
    trailing = ((DETAILS_KEY, fault.to_status().SerializeToString()),)
    await context.abort(code, fault.message[:_DETAILS_TEXT], trailing)
    raise AssertionError("abort always raises")


def fault_of(error: grpc.aio.AioRpcError) -> Fault | None:
    """The fault that the other side sent with a failed call; None if it sent none: the connection broke, or it is not ours."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except Exception:  # a third party's, and damaged: the code and text outside it still stand
                return None
            return Fault.from_status(status)
    return None
