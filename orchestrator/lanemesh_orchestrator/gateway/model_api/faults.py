"""The HTTP status of faults, and handlers that answer with the errors of a dialect."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.pipeline_faults import PipelineInvalid
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.model_api.streams import TurnFailed
from lanemesh_orchestrator.gateway.problems import status_of

log = logging.getLogger("lanemesh.gateway")

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
ErrorResponse: TypeAlias = Callable[[int, Fault, dict[str, str]], Response]
"""Makes the response of an error from its status, its fault and headers."""

_STATUS_OF_RUN = {
    Code.INVALID_ARGUMENT: 400,
    Code.OUT_OF_RANGE: 400,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
"""The status of a run that failed by such a fault. Others, such as a missing file of a model, are faults of the server."""


def in_dialect(respond: ErrorResponse) -> Callable[[Endpoint], Endpoint]:
    """Makes an endpoint answer with the errors of a dialect, which `respond` makes."""

    def wrap(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except ClientDisconnect:
                return Response(status_code=499)
            except LanemeshError as error:
                return respond(status_of_error(error), error.fault, _headers(error))
            except Exception as error:
                log.error("%s %s failed", request.method, request.url.path, exc_info=error)
                message = "the gateway failed; its log has the cause"
                return respond(500, Fault(code=Code.INTERNAL, reason="internal", message=message), {})

        return answer

    return wrap


def status_of_error(error: LanemeshError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, PipelineInvalid):
        return 400 if all(one.reason == "bad-setting" for one in error.faults) else 500
    return status_of_run(error.fault) if isinstance(error, TurnFailed) else status_of(error.fault)


def status_of_run(fault: Fault) -> int:
    """The HTTP status of the fault of a run."""
    return _STATUS_OF_RUN.get(fault.code, 500)


def _headers(error: LanemeshError) -> dict[str, str]:
    status = status_of_error(error)
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.fault.retry_after or 1)))
    elif isinstance(error, TurnFailed):
        headers["x-should-retry"] = "false"  # the SDKs repeat failed requests, but a run may have had effects
    return headers
