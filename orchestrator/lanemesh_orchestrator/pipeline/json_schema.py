"""Checks of a config against a JSON schema. The messages do not contain the config's values, which may be secret."""

from __future__ import annotations

import functools
import itertools
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanemesh_orchestrator.pipeline.faults import listed, nearest, quoted
from lanemesh_orchestrator.pipeline.patterns import may_match, without_refused_patterns

if TYPE_CHECKING:
    import jsonschema_rs

MAX_PROBLEMS = 100
"""Maximum number of reported problems of one config."""
ON_ERROR_SKIP = "on_error_skip"
"""Keyword in the schema of a setting: the value by which a node that reads its inputs itself leaves out what it cannot read."""

_OBJECT_KEYS = frozenset({"type", "title", "description", "properties", "required", "additionalProperties", "$defs"})
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}
_PLAIN_KEYS = frozenset(
    {
        *("type", "format", "default", "title", "description", "enum", "anyOf", "items", "writeOnly"),
        *(ON_ERROR_SKIP, *_COMPARISONS),
    }
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
    """The predicate of a sentence about the value at the path."""
    hint: str = ""
    """The remedy."""


def problems(schema_text: str, schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[Problem]:
    """The violations of a schema (as text, and parsed) in a config, at most `MAX_PROBLEMS`; empty if it is valid.

    The time is linear in the size of the config. Strings are matched to patterns by the engine of pydantic, which checks the config
    again in its node. A config of plain values is checked without an import of the validator.
    """
    if _plainly_valid(schema, values):
        return []
    import jsonschema_rs

    try:
        errors = _validator(schema_text).iter_errors(values)
        found = itertools.chain.from_iterable(_problems_of(error, schema) for error in errors)
        return list(itertools.islice(found, MAX_PROBLEMS))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        message = "it cannot be checked: the node type's schema is faulty"
        return [Problem([], "bad-manifest", message, "Report it to its author.")]


def _plainly_valid(schema: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether every key is known and its value satisfies a simple rule; False means that the validator decides."""
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
def _validator(schema_text: str) -> jsonschema_rs.Draft202012Validator:
    import jsonschema_rs

    schema = json.loads(schema_text)
    if '"patternProperties"' in schema_text:
        schema = without_refused_patterns(schema)
    return jsonschema_rs.Draft202012Validator(
        schema,
        validate_formats=False,
        pattern_options=jsonschema_rs.RegexOptions(),  # never backtracks
        keywords={"pattern": _Pattern},
        offline=True,
    )


class _Pattern:
    """The keyword `pattern`. One that the engine of linear time refuses, such as with a look-ahead, is checked only in the node."""

    def __init__(self, _schema: dict[str, Any], pattern: Any, _path: list[str | int]) -> None:
        self._pattern = str(pattern)

    def validate(self, instance: Any) -> None:
        """Raises ValueError for a string that does not match."""
        if isinstance(instance, str) and not may_match(self._pattern, instance):
            raise ValueError(self._pattern)


def _problems_of(error: jsonschema_rs.ValidationError, schema: Mapping[str, Any]) -> Iterator[Problem]:
    path: list[str | int] = list(error.instance_path)
    keyword = error.kind.name
    rule = _rule(schema, error.schema_path)
    if rule is None:  # a reference by an anchor
        rule = error.kind.value
    match keyword:
        case "additionalProperties":
            around = _rule(schema, error.schema_path[:-1])
            known = sorted(around.get("properties", ()) if isinstance(around, dict) else ())
            for key in error.kind.value:
                near = nearest(key, known)
                hint = f"Nearest: {near}." if near else f"Known keys: {listed(known, 20)}."
                yield Problem([*path, key], "unknown-config-key", "is not a known key", hint)
        case "required":
            key = str(error.kind.value)
            yield Problem(path, "missing-config-key", f"needs the key {quoted(key)}", f'Add "{key}".')
        case "anyOf" | "oneOf":
            yield _best_of(error, schema, path)
        case "type":
            names = [rule] if isinstance(rule, str) else rule
            yield Problem(path, "bad-config", f"must be {_types(names)}, not {_type_of(error.instance)}")
        case "enum":
            yield Problem(path, "bad-config", "is not one of the values allowed", f"Allowed: {_values(rule)}.")
        case _:
            text = _LIMITS.get(keyword, f"does not satisfy `{keyword}`: {{}}")
            yield Problem(path, "bad-config", text.format(json.dumps(rule)[:200]))


def _rule(schema: Any, path: Sequence[str | int]) -> Any:
    """The value of the keyword that a path of an evaluation leads to, through references within the schema; None if
    it cannot be followed."""
    found = schema
    for step in path:
        if isinstance(found, dict):
            found = found.get(str(step))
        elif isinstance(found, list) and str(step).isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
        if step == "$ref" and isinstance(found, str):
            steps = found.removeprefix("#").split("/")[1:]
            found = _rule(schema, [part.replace("~1", "/").replace("~0", "~") for part in steps])
    return found


def _best_of(error: jsonschema_rs.ValidationError, schema: Mapping[str, Any], path: list[str | int]) -> Problem:
    """The violations of the most probable alternative: one with the right type, otherwise the types of all."""
    inner = [one for branch in getattr(error.kind, "context", ()) for one in branch]
    others = [one for one in inner if one.kind.name != "type" or len(one.instance_path) > len(path)]
    if others:
        first = next(_problems_of(others[0], schema), None)
        if first is not None:
            return first
    types = [name for one in inner for name in one.kind.value]
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
