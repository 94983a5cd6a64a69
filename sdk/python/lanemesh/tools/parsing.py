"""The arguments of a call: read from the JSON text of a model, corrected where what is meant is certain, and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lanemesh.json_text import read_json
from lanemesh.rendering import rendered, text_of
from lanemesh.tools.errors import CallFailed
from lanemesh.tools.schema import Parameters

MAX_ARGUMENTS = 4 * 1024 * 1024
"""Longest arguments of a call, in characters."""
MAX_PROBLEMS = 20
"""Most problems of arguments that are reported at once."""

_OBJECTS = ("dict_type", "model_type", "list_type", "tuple_type", "set_type", "dataclass_type", "model_attributes_type")
"""Errors of pydantic for a value that had to be an object or an array."""


def parse_arguments(tool: str, parameters: Parameters, text: str) -> dict[str, Any]:
    """The arguments of a call, by parameter and of the types that the function declares.

    Empty text and `null` mean no arguments. A `null` or an empty text for an argument that does not take it, and has a default,
    means the default. JSON as text, where an object or an array is wanted, is read.

    Raises:
        CallFailed: "bad-arguments", with all faults, and what is accepted.
    """
    given = _object(tool, text)
    try:
        checked = _validated(parameters.model, given)
    except ValidationError as error:
        corrected = _corrected(parameters, given, error)
        if corrected is None:
            raise _refused(tool, parameters, error) from None
        try:
            checked = _validated(parameters.model, corrected)
        except ValidationError as second:
            raise _refused(tool, parameters, second) from None
    return parameters.arguments(checked)


def _validated(model: type[BaseModel], given: Mapping[str, Any]) -> BaseModel:
    return model.model_validate_json(json.dumps(given))


def _object(tool: str, text: str) -> dict[str, Any]:
    """The arguments as a JSON object."""
    text = text.strip()
    if not text:
        return {}
    if len(text) > MAX_ARGUMENTS:
        message = f"the arguments of {tool} have {len(text):,} characters; the limit is {MAX_ARGUMENTS:,}"
        raise CallFailed("bad-arguments", message)
    try:
        value = read_json(text)
        if isinstance(value, str):  # JSON as text
            value = read_json(value) if value.strip() else {}
    except (ValueError, RecursionError) as error:
        message = f"the arguments {rendered(text)} of {tool} are not JSON: {text_of(error)}. Give a JSON object"
        raise CallFailed("bad-arguments", message) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CallFailed("bad-arguments", f"the arguments {rendered(text)} of {tool} are not a JSON object. Give one")
    return value


def _corrected(parameters: Parameters, given: Mapping[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """The arguments with what is certainly meant in the place of wrong ones; None if nothing can be corrected."""
    optional = set(parameters.schema.get("properties", {})) - set(parameters.schema.get("required", ()))
    corrected = dict(given)
    for problem in error.errors(include_url=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        value = corrected.get(name)
        if name not in corrected:
            continue
        if value is None or value == "":
            if name in optional:
                del corrected[name]
        elif isinstance(value, str) and problem["type"] in _OBJECTS:
            try:
                corrected[name] = read_json(value)
            except ValueError:
                continue
    return corrected if corrected != given else None


def _refused(tool: str, parameters: Parameters, error: ValidationError) -> CallFailed:
    problems = list(_problems(parameters, error))
    found = "; ".join(f"{problem['argument']}: {problem['problem']}" for problem in problems)
    return CallFailed("bad-arguments", f"the arguments of {tool} are invalid: {found}", arguments=problems)


def _problems(parameters: Parameters, error: ValidationError) -> Iterator[dict[str, Any]]:
    """Each wrong argument, what is wrong with it, and what is accepted."""
    properties = parameters.schema.get("properties", {})
    definitions = parameters.schema.get("$defs", {})
    for item in error.errors(include_url=False, include_context=False)[:MAX_PROBLEMS]:
        name = str(item["loc"][0]) if item["loc"] else ""
        problem: dict[str, Any] = {"argument": ".".join(map(str, item["loc"])) or "all", "problem": _message(item)}
        if name not in properties:
            problem["problem"] = f"there is no such parameter; the parameters: {', '.join(properties) or 'none'}"
        else:
            accepted = properties[name]
            problem["accepted"] = accepted
            if "$ref" in json.dumps(accepted):
                problem["definitions"] = definitions
        yield problem


def _message(item: ErrorDetails) -> str:
    if item["type"] == "missing":
        return item["msg"]
    return f"{item['msg']}, not {rendered(item['input'])}"
