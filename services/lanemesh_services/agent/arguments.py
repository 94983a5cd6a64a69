"""The arguments of calls, checked before a call is made: JSON, an object, and valid by the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from lanemesh import ToolSpec
from lanemesh.extend import MAX_JSON_DEPTH, json_depth

_JSON_TYPES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
MAX_PROBLEMS = 5
"""Most problems of one call that its error names."""


class BadArguments(ValueError):
    """A call cannot be made as the model wrote it. Its text is for the model."""

    def __init__(self, message: str, reason: str = "bad-arguments") -> None:
        super().__init__(message)
        self.reason = reason
        """Why, in the result of the call."""


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call; none if the text is empty or null. An object that is quoted as text is read.

    Raises:
        BadArguments: they are not a JSON object.
    """
    try:
        parsed = _parse(text)
        if isinstance(parsed, str) and parsed.lstrip().startswith("{"):
            parsed = _parse(parsed)
    except ValueError as error:
        raise BadArguments(f"the arguments {text!r:.200} are not a JSON object: {error}") from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise BadArguments(f"the arguments {text!r:.200} are not a JSON object: they are {_JSON_TYPES[type(parsed)]}")
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
    """Checks arguments by the schemas of tools, with the corrections that the tools of functions make as well."""

    def __init__(self) -> None:
        self._validators: dict[str, tuple[Mapping[str, Any], Any]] = {}

    def checked(self, spec: ToolSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call. A null and an empty text that an optional one does not take are left out; JSON as text is read
        where an object or a list is wanted.

        A schema that cannot be used is left to the tool, which checks its arguments too.

        Raises:
            BadArguments: they are invalid; with the first problems.
        """
        given = dict(arguments)
        validator = self._validator(spec)
        if validator is None or validator.is_valid(given):
            return given
        corrected = _corrected(spec, given, validator.iter_errors(given))
        problems = "; ".join(map(_problem, islice(validator.iter_errors(corrected), MAX_PROBLEMS)))
        if problems:
            raise BadArguments(f"the arguments of {spec.name} are invalid: {problems}")
        return corrected

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


def _corrected(spec: ToolSpec, arguments: Mapping[str, Any], errors: Iterable[Any]) -> dict[str, Any]:
    """The arguments with what is certainly meant in the place of wrong ones."""
    required = (spec.parameters or {}).get("required", ())
    corrected = dict(arguments)
    for name in {error.instance_path[0] for error in errors if len(error.instance_path) == 1}:
        value = arguments[name]
        if value is None or value == "":
            if name not in required:
                del corrected[name]
        elif isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            with suppress(ValueError):
                corrected[name] = _parse(value)
    return corrected


def _problem(error: Any) -> str:
    where = "".join(f"/{step}" for step in error.instance_path)
    return f"{error.message:.300}{f' at {where}' if where else ''}"
