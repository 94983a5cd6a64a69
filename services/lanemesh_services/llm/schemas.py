"""JSON schemas of answers: checked before a model is called, converted for a grammar, and used to validate the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from lanemesh.extend import MAX_JSON_DEPTH, json_depth, read_json
from pydantic_core import from_json

from lanemesh_services.llm.errors import refused
from lanemesh_services.shared.errors import GenerationRefused

FIELD = "json_schema"
"""The field of a request that errors name."""
MAX_LENGTH = 256 * 1024
"""Maximum length of a schema, in characters."""
MAX_DIGITS = 4_000
"""Digits of an integer in an answer that are checked. Python reads 4,300."""

_NOT_HELD = frozenset(
    {
        *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames"),
        *("dependencies", "dependentRequired", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties"),
        *("$dynamicRef", "$recursiveRef"),
    }
)
"""Keywords that restrict an answer and that no grammar supports."""
_HELD_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "unknown")
)
_OTHER_FORMATS = frozenset(
    {
        *("idn-email", "idn-hostname", "uri", "uri-reference", "iri", "iri-reference", "uri-template"),
        *("json-pointer", "relative-json-pointer", "regex"),
    }
)
"""Formats of JSON Schema that no grammar supports. Further ones are annotations."""
_ONE: tuple[str, ...] = (
    "additionalProperties",
    "additionalItems",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
)
_ONE += ("unevaluatedItems", "unevaluatedProperties")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SYNTAX = ("expected", "key must", "invalid", "control character", "trailing characters")
"""Prefixes of parser errors that more text would not resolve."""
_IN_PLACE = ("allOf", "anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A schema that is valid, refers to nothing outside itself, and is bounded in size and depth."""

    schema: Mapping[str, Any]
    """The original schema."""
    validator: Any
    """Validates values by it, in time linear in the length of their texts."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Checks a schema. Raises `GenerationRefused` with its fault."""
        schema = _read(text)
        for path, part in _parts(schema):
            _check_reference(schema, path, part)
        _check_recursion(schema)
        return cls(schema, _validator(schema))

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Self:
        """The same for a parsed schema."""
        return cls.read(json.dumps(schema, ensure_ascii=False))

    def for_grammar(self) -> dict[str, Any]:
        """The schema for a grammar: without annotations that it does not support, `oneOf` as `anyOf`.

        `problem` checks that exactly one branch of `oneOf` is valid. Raises `GenerationRefused` that names a keyword which the
        grammar does not support.
        """
        for path, part in _parts(self.schema):
            _check_held(path, part)
        held: dict[str, Any] = _for_grammar(self.schema)
        return held

    def problem(self, text: str) -> str:
        """Why a complete answer does not follow the schema; empty if it does."""
        return next(iter(self.problems(text, 1)), "")

    def problems(self, text: str, most: int) -> list[str]:
        """The first reasons why a complete answer does not follow the schema; none if it does."""
        try:
            answer = json.loads(text, parse_int=_integer)
            return [_described(error) for error in islice(self.validator.iter_errors(answer), most)]
        except RecursionError:
            return []  # nested deeper than can be checked; the recursion of the schema allows it
        except ValueError as error:
            return [f"it is not JSON ({error})"]


def begins_json(text: str) -> bool:
    """Whether a text is JSON or its beginning, so that it can still become an answer that follows a schema."""
    try:
        from_json(text)
    except ValueError as error:
        return not str(error).startswith(_SYNTAX)
    return True


def answer_data(text: str, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """The value of a complete structured answer, and why there is none; one of the two is empty.

    Args:
        text: the text of the model.
        schema: the schema of the answer.
    """
    try:
        value = read_json(text)
    except ValueError as error:
        return None, str(error)
    try:
        problem = AnswerSchema.of(schema).problem(text)
    except GenerationRefused as error:
        return None, error.fault.message
    return (None, problem) if problem else (value, "")


def _integer(digits: str) -> int:
    """An integer. One with more digits than Python reads is cut, which no rule but `multipleOf` distinguishes."""
    return int(digits[:MAX_DIGITS])


def _described(error: Any) -> str:
    where = "".join(f"/{step}" for step in error.instance_path)
    return f"{error.message}{f' at {where}' if where else ''}"


def _read(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_LENGTH:
        raise refused(FIELD, f"has {len(text):,} characters; the limit is {MAX_LENGTH:,}")
    if json_depth(text) > MAX_JSON_DEPTH:
        raise refused(FIELD, f"is nested deeper than {MAX_JSON_DEPTH} levels")
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise refused(FIELD, f"is not JSON ({error})") from None
    if not isinstance(schema, dict):
        raise refused(FIELD, "must be a JSON object")
    return schema


def _validator(schema: Mapping[str, Any]) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(
            dict(schema), validate_formats=False, pattern_options=jsonschema_rs.RegexOptions(), offline=True
        )
    except jsonschema_rs.ValidationError as error:
        where = "".join(f"/{step}" for step in error.instance_path) or "its root"
        raise refused(FIELD, f"is not a valid JSON schema: {error.message} at {where}") from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise refused(FIELD, f"cannot be used: {error}") from None


def _parts(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A schema and every schema within it, each with the path to it."""
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            within = [(f"{path}/{key}/{name}", part) for name, part in value.items()]
        elif key in _LISTS and isinstance(value, list):
            within = [(f"{path}/{key}/{place}", part) for place, part in enumerate(value)]
        elif key in _ONE:
            within = [(f"{path}/{key}", value)]
        else:
            continue
        for where, part in within:
            yield from _parts(part, where)


def _check_reference(schema: Mapping[str, Any], path: str, part: Mapping[str, Any]) -> None:
    target = part.get("$ref", "#")
    if not isinstance(target, str) or not target.startswith("#"):
        raise refused(FIELD, f'has the $ref "{target}" at {path or "its root"}; nothing outside the schema is fetched')
    if _resolved(schema, target) is None:
        raise refused(FIELD, f'has the $ref "{target}" at {path or "its root"}, which refers to no schema in it')


def _resolved(schema: Mapping[str, Any], target: str) -> Any:
    """The schema that a reference within a schema refers to; None if there is none."""
    if target == "#":
        return schema
    if not target.startswith("#/"):
        anchors = (part for _, part in _parts(schema) if part.get("$anchor") == target[1:])
        return next(anchors, None)
    found: Any = schema
    for step in target[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found if isinstance(found, (Mapping, bool)) else None


def _check_recursion(schema: Mapping[str, Any]) -> None:
    """Rejects a schema that refers to itself without descending into a value: its validation would not end."""
    done: set[int] = set()

    def visit(part: Any, above: frozenset[int]) -> None:
        if not isinstance(part, Mapping) or id(part) in done:
            return
        if id(part) in above:
            raise refused(FIELD, f'has a circular $ref: "{part.get("$ref", "#")}"')
        within = above | {id(part)}
        if isinstance(target := part.get("$ref"), str):
            visit(_resolved(schema, target), within)
        for key in _IN_PLACE:
            for alternative in part.get(key) or ():
                visit(alternative, within)
        done.add(id(part))

    for _, part in _parts(schema):
        visit(part, frozenset())


def _check_held(path: str, part: Mapping[str, Any]) -> None:
    where = path or "its root"
    if keyword := next((key for key in part if key in _NOT_HELD and part[key] is not False), None):
        raise refused(FIELD, f'has the keyword "{keyword}" at {where}, which the engine does not support; remove it')
    if part.get("format") in _OTHER_FORMATS:
        why = f'has the format "{part["format"]}" at {where}, which the engine does not support'
        raise refused(FIELD, f"{why}; remove it, or use a pattern")


def _for_grammar(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "format" and value not in _HELD_FORMATS:
            continue
        if key in _NAMED and isinstance(value, Mapping):
            made[key] = {name: _for_grammar(part) for name, part in value.items()}
        elif key in _LISTS and isinstance(value, list):
            made[key] = [_for_grammar(part) for part in value]
        elif key not in _NOT_HELD:
            made[key] = _for_grammar(value) if key in _ONE else value
    if "oneOf" in made:
        alternatives = made.pop("oneOf")
        if "anyOf" in made:
            made["allOf"] = [*made.get("allOf", []), {"anyOf": alternatives}]
        else:
            made["anyOf"] = alternatives
    return made
