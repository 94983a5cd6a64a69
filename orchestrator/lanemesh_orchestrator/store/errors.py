"""Errors of a store."""

from __future__ import annotations

from lanemesh.faults import Code, Fault, LanemeshError


def store_error(reason: str, message: str, code: Code = Code.FAILED_PRECONDITION) -> LanemeshError:
    """An error of a store."""
    return LanemeshError(Fault(code=code, reason=reason, message=message))


def first_line(error: BaseException) -> str:
    """The message of an error, without the statements and links that SQLAlchemy adds."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().partition("\n")[0] or type(cause).__name__
