"""The arguments of calls, checked before a call is made: JSON, an object, and valid by the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lanemesh import ToolSpec
from lanemesh.extend import MAX_JSON_DEPTH, json_depth

_JSON_TYPES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
MAX_PROBLEMS = 5
"""Most problems of one call that its error names."""


class BadArguments(ValueError):
    """The arguments of a call are invalid. Its text is for the model."""


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call; none if the text is empty. An object that is quoted as text is read.

    Raises:
        BadArguments: they are not a JSON object.
    """
    try:
        parsed = _parse(text)
        if isinstance(parsed, str) and parsed.lstrip().startswith("{"):
            parsed = _parse(parsed)
    except ValueError as error:
        raise BadArguments(f"the arguments {text!r:.200} are not a JSON object: {error}") from None
    if not isinstance(parsed, dict):
        kind = _JSON_TYPES.get(type(parsed), "null")
        raise BadArguments(f"the arguments {text!r:.200} are not a JSON object: they are {kind}")
    return parsed


def _parse(text: str) -> Any:
    if json_depth(text) > MAX_JSON_DEPTH:
        raise ValueError("nested too deep")
    try:
        value = json.loads(text or "{}")
        json.dumps(value, ensure_ascii=False).encode()  # raises ValueError for characters that are not valid Unicode
        return value
    except RecursionError:
        raise ValueError("nested too deep") from None


class ArgumentSchemas:
    """Checks arguments by the schemas of tools."""

    def __init__(self) -> None:
        self._validators: dict[str, tuple[Mapping[str, Any], Any]] = {}

    def check(self, spec: ToolSpec, arguments: Mapping[str, Any]) -> None:
        """Raises BadArguments with the first problems. A schema that cannot be used is left to the tool, which checks its arguments
        too."""
        validator = self._validator(spec)
        if validator is None:
            return
        problems = [
            _problem(error)
            for _, error in zip(range(MAX_PROBLEMS), validator.iter_errors(dict(arguments)), strict=False)
        ]
        if problems:
            raise BadArguments(f"the arguments of {spec.name} are invalid: {'; '.join(problems)}")

    def _validator(self, spec: ToolSpec) -> Any:
        if not spec.parameters:
            return None
        known = self._validators.get(spec.name)
        if known is None or known[0] is not spec.parameters:
            known = self._validators[spec.name] = spec.parameters, _made(spec.parameters)
        return known[1]


def _made(parameters: Mapping[str, Any]) -> Any:
    import jsonschema_rs

    try:
        plain = json.loads(json.dumps(parameters))
        return jsonschema_rs.validator_for(
            plain, validate_formats=False, pattern_options=jsonschema_rs.RegexOptions(), offline=True
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError):
        return None


def _problem(error: Any) -> str:
    where = "".join(f"/{step}" for step in error.instance_path)
    return f"{error.message:.300}{f' at {where}' if where else ''}"
