"""The forms of errors by path: that of the API to which a path belongs."""

from __future__ import annotations

from lanemesh.faults import Code, Fault
from starlette.responses import Response

from lanemesh_orchestrator.gateway.anthropic.errors import error_response as anthropic_error
from lanemesh_orchestrator.gateway.model_api.faults import ErrorResponse
from lanemesh_orchestrator.gateway.openai.errors import error_response as openai_error
from lanemesh_orchestrator.gateway.problems import problem

_FORMS: dict[str, ErrorResponse] = {
    "/v1/chat/completions": openai_error,
    "/v1/embeddings": openai_error,
    "/v1/models": openai_error,
    "/v1/responses": openai_error,
    "/v1/messages": anthropic_error,
}
_CODES = {401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED, 429: Code.RESOURCE_EXHAUSTED, 503: Code.UNAVAILABLE}


def refusal(path: str, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """The response to a request that is refused before it reaches its endpoint. The arguments are those of `problem`, after the
    path of the request."""
    form = next((form for prefix, form in _FORMS.items() if path == prefix or path.startswith(f"{prefix}/")), None)
    if form is None:
        return problem(status, reason, message, headers=headers)
    code = _CODES.get(status, Code.INVALID_ARGUMENT)
    return form(status, Fault(code=code, reason=reason, message=message), headers or {})
