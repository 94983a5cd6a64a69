"""The errors of a request that is wrong in itself: each names its field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from pydantic import ValidationError

from lanemesh_orchestrator.first_errors import described

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
        """The first 20 errors, in the order of the fields; of each list the first one."""
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
    found = described(error)
    paths = [one["loc"] if validated is None else _path_in(validated, one["loc"], one["type"]) for one in found]
    return InvalidRequest(
        FieldError(
            prefix + pointer_of(path), _reason(one["type"]), message_of(one["type"], one["msg"], one.get("ctx", {}))
        )
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


_MESSAGES = {
    "extra_forbidden": "there is no such field",
    "missing": "this field is missing",
    "string_type": "it must be a string",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "list_type": "it must be a list",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "literal_error": "it must be {expected}",
    "enum": "it must be {expected}",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "string_pattern_mismatch": "it must have the form {pattern}",
    "too_short": "it must have at least {min_length} entries",
    "too_long": "it must have at most {max_length} entries",
    "greater_than": "it must be greater than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "union_tag_not_found": "its field {discriminator} is missing",
    "union_tag_invalid": "its field {discriminator} must be one of {expected_tags}",
}
"""What is wrong by the kind of error of pydantic, with the names of its context."""


def message_of(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """What is wrong with a field.

    Args:
        kind: the kind of the error of pydantic.
        message: the text of pydantic, which is used for kinds without a text of ours.
        context: the values of the error, such as a bound.
    """
    if kind in _MESSAGES:
        return _MESSAGES[kind].format_map(context)
    text = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
