"""Checks of a config against a JSON schema, told in sentences without the config's values, which may be secret."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanemesh_orchestrator.pipeline.faults import listed, nearest, quoted

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

MAX_PROBLEMS = 100
"""Most problems that are told of one config."""

_OBJECT_KEYS = frozenset({"type", "title", "description", "properties", "required", "additionalProperties", "$defs"})
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}
_PLAIN_KEYS = frozenset(
    {"type", "format", "default", "title", "description", "enum", "anyOf", "items", "writeOnly", *_COMPARISONS}
)
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_LIMITS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be greater than {}",
    "exclusiveMaximum": "must be less than {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} elements",
    "maxItems": "must have at most {} elements",
    "pattern": "must match the pattern {}",
    "multipleOf": "must be a multiple of {}",
    "const": "must be {}",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a schema forbids."""

    path: Sequence[str | int]
    """Where: keys and indices from the top of the config."""
    reason: str
    """One of "unknown-config-key", "missing-config-key" "bad-config" or "bad-manifest"."""
    message: str
    """The predicate of a sentence about what is at the path."""
    hint: str = ""
    """What to do."""


def problems(schema_text: str, schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[Problem]:
    """What a schema (as text, and parsed) forbids in a config, at most `MAX_PROBLEMS`; empty if it is fine.

    A config of plain values that is plainly right is not shown to the jsonschema package: to import it takes a sixth of
    the time that the start of a small run may take.
    """
    if _plainly_valid(schema, values):
        return []
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    found: list[Problem] = []
    try:
        for error in _validator(schema_text).iter_errors(values):
            found.extend(_told(error))
            if len(found) >= MAX_PROBLEMS:
                break
    except (SchemaError, Unresolvable):
        found.append(
            Problem([], "bad-manifest", "it cannot be checked: the node type's schema is faulty", "Tell its author.")
        )
    return found


def _plainly_valid(schema: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether every key is a known one with a plain rule that its value keeps to; False says nothing."""
    known = schema.get("properties", {})
    if not set(schema) <= _OBJECT_KEYS or not isinstance(known, dict):
        return False
    if any(key not in values for key in schema.get("required", ())):
        return False
    return all(_plainly(known.get(key), value) for key, value in values.items())


def _plainly(rule: Any, value: Any) -> bool:
    if not isinstance(rule, dict) or not set(rule) <= _PLAIN_KEYS or ("anyOf" in rule) == ("type" in rule):
        return False
    if "anyOf" in rule:
        return any(_plainly(part, value) for part in rule["anyOf"])
    if rule["type"] == "array":
        return isinstance(value, list) and "items" in rule and all(_plainly(rule["items"], part) for part in value)
    is_type = isinstance(value, _TYPES.get(str(rule["type"]), ())) and type(value) is not bool
    if not is_type and not (rule["type"] == "boolean" and isinstance(value, bool)):
        return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    return all(holds(value, rule[key]) for key, holds in _COMPARISONS.items() if key in rule)


@functools.lru_cache(maxsize=256)
def _validator(schema_text: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    schema = json.loads(schema_text)
    Draft202012Validator.check_schema(schema)
    # An empty registry, since the default one fetches references over the network.
    return Draft202012Validator(schema, registry=Registry())


def _told(error: ValidationError) -> Iterator[Problem]:
    path: list[str | int] = list(error.absolute_path)
    rule: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            instance: Any = error.instance
            known = list(error.schema.get("properties", {}) if isinstance(error.schema, dict) else ())
            for key in instance:
                if key not in known:
                    near = nearest(key, known)
                    hint = f"Nearest: {near}." if near else f"It knows: {listed(sorted(known), 20)}."
                    yield Problem([*path, key], "unknown-config-key", "is no key that it knows", hint)
        case "required":
            key = next(key for key in rule if error.message.startswith(f"{key!r} "))
            yield Problem(path, "missing-config-key", f"needs the key {quoted(str(key))}", f'Add "{key}".')
        case "anyOf" | "oneOf":
            yield _best_of(error, path)
        case "type":
            names = [rule] if isinstance(rule, str) else rule
            yield Problem(path, "bad-config", f"must be {_types(names)}, not {_type_of(error.instance)}")
        case "enum":
            yield Problem(path, "bad-config", "is not one of the values allowed", f"Allowed: {_values(rule)}.")
        case keyword:
            text = _LIMITS.get(str(keyword), f"does not satisfy `{keyword}`: {{}}")
            yield Problem(path, "bad-config", text.format(json.dumps(rule)[:200]))


def _best_of(error: ValidationError, path: list[str | int]) -> Problem:
    """What the likeliest alternative of several forbids: one whose type is right, else all their types."""
    others = [inner for inner in error.context or () if inner.validator != "type"]
    if others:
        first = next(iter(_told(others[0])), None)
        if first is not None:
            return first
    rules: list[Any] = [inner.validator_value for inner in error.context or ()]
    types = [name for rule in rules for name in ([rule] if isinstance(rule, str) else rule)]
    if not types:
        return Problem(path, "bad-config", "is none of the forms allowed")
    return Problem(path, "bad-config", f"must be {_types(types)}, not {_type_of(error.instance)}")


def _types(names: Sequence[str]) -> str:
    articles = {"integer": "an integer", "object": "an object", "array": "an array", "null": "null"}
    return " or ".join(dict.fromkeys(articles.get(name, f"a {name}") for name in names))


def _type_of(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    for name, types in (("boolean", bool), ("string", str), ("integer", int), ("number", float)):
        if isinstance(value, types):
            return _types([name])
    return "null"


def _values(values: Sequence[Any]) -> str:
    return listed([json.dumps(value, ensure_ascii=False) for value in values])
