"""The errors of a request that is wrong in itself: each names its field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from pydantic import ValidationError

MAX_ERRORS = 20
"""Most errors that a response lists."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error of a request."""

    pointer: str
    """JSON pointer (RFC 6901) to the field in the body, or "?NAME" for a parameter of the query."""
    reason: str
    """Machine-readable, in kebab case."""
    message: str
    """What is wrong. It has no value of the request."""

    def to_json(self) -> dict[str, str]:
        """The error as a response lists it."""
        return {"pointer": self.pointer, "reason": self.reason, "message": self.message}


class InvalidRequest(LanemeshError):
    """A request with fields that are missing, unknown or invalid."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        """At least one error."""
        self.errors = tuple(errors)[:MAX_ERRORS]
        """The first 20 errors, in the order of the fields."""
        first = self.errors[0]
        message = "; ".join(f"{one.pointer or 'the body'}: {one.message}" for one in self.errors[:3])
        more = f" ({len(self.errors) - 3} more errors)" if len(self.errors) > 3 else ""
        super().__init__(
            Fault(
                code=Code.INVALID_ARGUMENT,
                reason=first.reason,
                message=f"{message}{more}. /v1/docs describes the fields",
            )
        )


def invalid(pointer: str, message: str, reason: str = "bad-value") -> InvalidRequest:
    """The error of one field."""
    return InvalidRequest([FieldError(pointer, reason, message)])


def invalid_fields(error: ValidationError, prefix: str = "", validated: Any = None) -> InvalidRequest:
    """The errors that pydantic found.

    Args:
        error: what it raised.
        prefix: the pointer to what was validated.
        validated: what was validated. With it, pointers have no kinds of unions, which pydantic adds to paths.
    """
    found = error.errors(include_url=False, include_input=False, include_context=False)
    paths = [one["loc"] if validated is None else _path_in(validated, one["loc"], one["type"]) for one in found]
    return InvalidRequest(
        FieldError(prefix + pointer_of(path), _reason(one["type"]), _message(one["msg"]))
        for path, one in zip(paths, found, strict=True)
    )


def _path_in(value: Any, path: Sequence[str | int], kind: str) -> list[str | int]:
    """The steps of a path that a value has, and the name of a missing field."""
    steps: list[str | int] = []
    for place, step in enumerate(path):
        is_there = isinstance(step, int) and isinstance(value, list) and step < len(value)
        if is_there or (isinstance(value, dict) and step in value):
            value = value[step]
        elif kind != "missing" or place < len(path) - 1:
            continue
        steps.append(step)
    return steps


def pointer_of(path: Sequence[str | int]) -> str:
    """The JSON pointer of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1")[:80] for step in path)


def _reason(kind: str) -> str:
    if kind == "extra_forbidden":
        return "unknown-field"
    if kind == "missing":
        return "missing-field"
    return "wrong-type" if kind.endswith(("_type", "_parsing")) else "bad-value"


def _message(message: str) -> str:
    words = {
        "Extra inputs are not permitted": "there is no such field",
        "Field required": "this field is missing",
    }
    text = words.get(message, message.removeprefix("Value error, "))
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
