"""Bodies of requests against models of pydantic: the first fault, with its place as the dialects write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lanemesh.faults import LanemeshError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from lanemesh_orchestrator.first_errors import FirstErrors, described
from lanemesh_orchestrator.gateway.bodies import read_object
from lanemesh_orchestrator.gateway.invalid import message_of
from lanemesh_orchestrator.gateway.model_api.refusals import invalid, unsupported
from lanemesh_orchestrator.gateway.off_loop import for_body

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Body = TypeVar("Body", bound=BaseModel)

_UNIONS = ("messages", "content", "input", "output", "system")
"""Lists whose entries are of several kinds: pydantic adds the kind to the place of a fault."""

_TEXTS = ("content", "input", "system")
"""Lists for which a text may stand."""


class Strict(FirstErrors):
    """A part of a request without unknown fields, and without conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Echoed(FirstErrors):
    """A part of an earlier answer that a client sends back. SDKs add fields to it, which are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


async def read_body_as(request: Request, kind: type[Body]) -> Body:
    """The body of a request. Raises LanemeshError with the place of the first fault, and as `read_object`."""
    given = await read_object(request)
    try:
        return await for_body(request, kind.model_validate, given)
    except ValidationError as error:
        raise _fault(described(error)) from None
    except RecursionError:
        raise invalid("body", "it is nested too deeply") from None


def only(name: str, value: Any, allowed: Sequence[Any], why: str) -> None:
    """Raises LanemeshError ("unsupported-parameter") unless a parameter is absent or has one of the allowed values."""
    if value is not None and value not in allowed:
        shown = ", ".join(str(one) for one in allowed)
        raise unsupported(name, f'"{name}" {why}. Remove it{f", or use {shown}" if shown else ""}')


def _fault(errors: Sequence[ErrorDetails]) -> LanemeshError:
    """The first of some errors, with what else a value at its place may be."""
    error = errors[0]
    place = _place(error["loc"])
    if error["type"] == "extra_forbidden":
        return unsupported(place, f"unknown parameter: {place}. docs/openai.md lists those that are supported")
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        if error["type"] == "union_tag_not_found":
            return invalid(place, 'it must be an object with the field "type" or "role"')
        kind = error["input"].get("type", error["input"].get("role")) if isinstance(error["input"], Mapping) else None
        return unsupported(place, f"{place}: {str(kind)[:80]!r} is not supported here: {_message(error)}")
    there = [
        one
        for one in errors
        if one["loc"][: len(error["loc"]) - 1] == error["loc"][:-1] and _place(one["loc"]) == place
    ]
    first, *others = dict.fromkeys(map(_message, there))
    return invalid(place, " or ".join([first, *(one.removeprefix("it must be ") for one in others)]))


def _message(error: ErrorDetails) -> str:
    if error["type"] == "list_type" and error["loc"][-1] in _TEXTS:
        return "it must be a string or a list"
    return message_of(error["type"], error["msg"], error.get("ctx", {}))


def _place(parts: Sequence[int | str]) -> str:
    """A place such as "messages[0].content[1].text"."""
    place = ""
    for position, part in enumerate(parts):
        if isinstance(part, int):
            place += f"[{part}]"
            continue
        if part == "str" or part.startswith("list["):  # a member of a union of types
            continue
        is_kind = position > 1 and isinstance(parts[position - 1], int) and parts[position - 2] in _UNIONS
        if not is_kind:
            place += f".{part}" if place else str(part)
    return place or "body"
