"""The forms of errors by path: that of the API to which a path belongs."""

from __future__ import annotations

from lanemesh.faults import Code, Fault
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.anthropic.errors import error_response as anthropic_error
from lanemesh_orchestrator.gateway.model_api.faults import ErrorResponse
from lanemesh_orchestrator.gateway.openai.errors import error_response as openai_error
from lanemesh_orchestrator.gateway.problems import problem

OPENAI_PATHS = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses")
"""Paths of the API of OpenAI after its base URL, which ends with /v1."""
_FORMS: dict[str, ErrorResponse] = {
    **{f"/v1{path}": openai_error for path in OPENAI_PATHS},
    **dict.fromkeys(OPENAI_PATHS, openai_error),
    "/v1/messages": anthropic_error,
    "/v1/v1/messages": anthropic_error,
}
_REASONS = {404: "no-such-path", 405: "method-not-allowed"}
_CODES = {
    404: Code.NOT_FOUND,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    429: Code.RESOURCE_EXHAUSTED,
    503: Code.UNAVAILABLE,
}


def refusal(path: str, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """The response to a request that is refused before it reaches its endpoint. The arguments are those of `problem`, after the
    path of the request."""
    form = next((form for prefix, form in _FORMS.items() if path == prefix or path.startswith(f"{prefix}/")), None)
    if form is None:
        return problem(status, reason, message, headers=headers)
    code = _CODES.get(status, Code.INVALID_ARGUMENT)
    return form(status, Fault(code=code, reason=reason, message=message), headers or {})


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handles unknown paths and methods."""
    assert isinstance(error, HTTPException)
    path, status = request.url.path, error.status_code
    what = "there is no such path" if status == 404 else f"this path has no method {request.method}"
    message = f"{request.method} {path[:200]}: {what}. {_advice(path, f'{request.url.scheme}://{request.url.netloc}')}"
    return refusal(path, status, _REASONS.get(status, "bad-request"), message, dict(error.headers or {}))


def _advice(path: str, address: str) -> str:
    """What to do about a path or a method that is unknown. `address`: the URL by which the client reaches the gateway."""
    if path.startswith(OPENAI_PATHS):
        return f"The base URL of the OpenAI API is {address}/v1"
    if path == "/v1/completions":
        return "Use /v1/chat/completions"
    if path.startswith("/v1/v1/"):
        return (
            f"The base URL of the Anthropic API is {address}, without /v1, and that of the OpenAI API is {address}/v1"
        )
    return "/v1/openapi.json lists the paths"
