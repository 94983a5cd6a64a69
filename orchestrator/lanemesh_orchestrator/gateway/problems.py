"""Errors of the HTTP API as problem details (RFC 9457)."""

from __future__ import annotations

import logging
import math
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.pipeline_faults import PipelineFault, PipelineInvalid
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.invalid import InvalidRequest
from lanemesh_orchestrator.gateway.json_response import Json

log = logging.getLogger("lanemesh.gateway")

MEDIA_TYPE = "application/problem+json"

STATUS_OF_CODE = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 409,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
"""The HTTP status of a gRPC status code, as google.rpc.Code maps them; a failed precondition is a conflict with the state of a
resource. Other codes: 500."""


STATUS_OF_REASON = {
    "body-timeout": 408,
    "body-too-large": 413,
    "unsupported-type": 415,
    "not-acceptable": 406,
}
"""The HTTP status of reasons that HTTP has a status for."""


def status_of(fault: Fault) -> int:
    """The HTTP status of a fault."""
    return STATUS_OF_REASON.get(fault.reason) or STATUS_OF_CODE.get(fault.code, 500)


def problem(status: int, reason: str, message: str, *, headers: dict[str, str] | None = None, **members: Any) -> Json:
    """A response with problem details.

    Args:
        status: the HTTP status.
        reason: machine-readable, in kebab case, one of docs/reasons.md.
        message: what, where and what to do next.
        headers: further headers.
        members: further members, such as `faults`.
    """
    body = {"type": f"urn:lanemesh:{reason}", "title": reason, "status": status, "detail": message, **members}
    return Json(body, status, headers, MEDIA_TYPE)


def fault_problem(error: LanemeshError) -> Json:
    """The response for an error of the mesh; an invalid pipeline has every fault with its pointer."""
    fault = error.fault
    members: dict[str, Any] = {}
    if isinstance(error, PipelineInvalid):
        members["faults"] = [pipeline_fault_json(one) for one in error.faults]
    if isinstance(error, InvalidRequest):
        members["errors"] = [one.to_json() for one in error.errors]
    if fault.details:
        members["details"] = dict(fault.details)
    status = 422 if isinstance(error, PipelineInvalid) else status_of(fault)
    headers = {"Retry-After": str(max(1, math.ceil(fault.retry_after or 1)))} if status in (429, 503) else None
    return problem(status, fault.reason, fault.message, headers=headers, **members)


def pipeline_fault_json(fault: PipelineFault) -> dict[str, str]:
    """A fault of a pipeline document."""
    return {
        "pointer": fault.pointer,
        "reason": fault.reason,
        "message": fault.message,
        "hint": fault.hint,
        "severity": fault.severity.value,
    }


def bad_request(message: str, *, reason: str = "bad-request") -> LanemeshError:
    """The error of a request that is wrong in itself."""
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason=reason, message=message))


async def on_fault(request: Request, error: Exception) -> Response:
    """Handles errors of the mesh."""
    assert isinstance(error, LanemeshError)
    return fault_problem(error)


async def on_disconnect(request: Request, error: Exception) -> Response:
    """Handles clients that are gone before their body has arrived, or before the response: no one reads this response."""
    return problem(499, "cancelled", "the client disconnected")


async def on_error(request: Request, error: Exception) -> Response:
    """Handles errors of the gateway itself: logged, and not shown."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal", "the gateway failed; its log has the cause")
