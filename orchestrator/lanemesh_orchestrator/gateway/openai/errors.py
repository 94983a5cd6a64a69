"""Errors in the form of OpenAI's API."""

from __future__ import annotations

from typing import Any

from lanemesh.faults import Fault
from starlette.responses import Response

from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.model_api.faults import in_dialect, status_of_run

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_CODES = {
    "unknown-model": "model_not_found",
    "unsupported-parameter": "unsupported_parameter",
    "bad-setting": "invalid_value",
}
"""Codes of OpenAI for reasons; other reasons are codes with underscores."""


def error_body(status: int, fault: Fault) -> dict[str, Any]:
    """The `error` object of a fault."""
    default = "invalid_request_error" if status < 500 else "server_error"
    return {
        "message": fault.message,
        "type": _TYPES.get(status, default),
        "param": fault.details.get("param"),
        "code": error_code(fault),
    }


def error_code(fault: Fault) -> str:
    """The code of a fault."""
    return _CODES.get(fault.reason, fault.reason.replace("-", "_"))


def run_error_body(fault: Fault) -> dict[str, Any]:
    """The `error` object of a run that failed."""
    return error_body(status_of_run(fault), fault)


def error_response(status: int, fault: Fault, headers: dict[str, str]) -> Response:
    """The response of an error."""
    return Json({"error": error_body(status, fault)}, status, headers)


endpoint = in_dialect(error_response)
"""Makes an endpoint answer with errors in the form of OpenAI's API."""
