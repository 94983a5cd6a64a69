"""The errors of requests that are wrong, or ask for what is not supported, with the place."""

from __future__ import annotations

from lanemesh.faults import Code, Fault, LanemeshError


def invalid(param: str, message: str, *, reason: str = "bad-request") -> LanemeshError:
    """The error of a request that is wrong at one place."""
    fault = Fault(code=Code.INVALID_ARGUMENT, reason=reason, message=f"{param}: {message}", details={"param": param})
    return LanemeshError(fault)


def unsupported(param: str, message: str) -> LanemeshError:
    """The error of a parameter that a model, or the API, does not support."""
    fault = Fault(code=Code.INVALID_ARGUMENT, reason="unsupported-parameter", message=message, details={"param": param})
    return LanemeshError(fault)
