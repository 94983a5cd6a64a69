"""Errors in the form of Anthropic's API."""

from __future__ import annotations

from typing import Any

from lanemesh.faults import Fault
from starlette.responses import Response

from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.model_api.faults import in_dialect, status_of_run

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(status: int, fault: Fault) -> dict[str, Any]:
    """The body of an error."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": fault.message}}


def run_error_body(fault: Fault) -> dict[str, Any]:
    """The body of the error of a run that failed."""
    return error_body(status_of_run(fault), fault)


def error_response(status: int, fault: Fault, headers: dict[str, str]) -> Response:
    """The response of an error."""
    return Json(error_body(status, fault), status, headers)


endpoint = in_dialect(error_response)
"""Makes an endpoint answer with errors in the form of Anthropic's API."""
