"""JSON schemas of extractions, JSON in the answers of models, and results of parts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Self

from lanemesh.extend import MAX_JSON_DEPTH, copy_json, json_depth

from lanemesh_services.documents.errors import bad_schema

MAX_PROBLEMS = 5
"""Most problems of one answer of which the model reads."""
MAX_CHARACTERS = 300
"""Most characters of one problem."""
MAX_SCHEMA = 256 * 1024
"""Longest schema, in characters."""
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Schema:
    """A valid JSON schema of objects, which refers to nothing outside itself."""

    schema: Mapping[str, Any]
    validator: Any
    """Validates values by it, in time linear in the length of their texts."""

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Self:
        """Checks a schema. Raises LanemeshError if it is invalid ("bad-schema")."""
        import jsonschema_rs

        text = json.dumps(schema)
        if len(text) > MAX_SCHEMA or json_depth(text) > MAX_JSON_DEPTH:
            raise bad_schema(f"it has more than {MAX_SCHEMA:,} characters, or more than {MAX_JSON_DEPTH} levels")
        if schema.get("type") != "object":
            raise bad_schema('its "type" is not "object"')
        try:
            validator = jsonschema_rs.validator_for(
                dict(schema), validate_formats=False, pattern_options=jsonschema_rs.RegexOptions(), offline=True
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise bad_schema(getattr(error, "message", str(error))) from None
        return cls(schema, validator)

    def problems(self, value: Any) -> str:
        """Why a value does not follow the schema; empty if it does."""
        found = islice(self.validator.iter_errors(value), MAX_PROBLEMS)
        return "; ".join(_described(error)[:MAX_CHARACTERS] for error in found)

    def without_required(self) -> Schema:
        """The same schema for a part of a text, which need not have every field."""
        return Schema.of(_optional(copy_json(self.schema)))


def json_in(text: str) -> tuple[Any, str]:
    """The JSON in the answer of a model, bare or between fences, and why there is none."""
    fenced = _FENCED.search(text)
    written = (fenced[1] if fenced else text).strip()
    if json_depth(written) > MAX_JSON_DEPTH:
        return None, f"it is nested deeper than {MAX_JSON_DEPTH} levels"
    try:
        return copy_json(json.loads(written)), ""
    except (ValueError, TypeError) as error:
        return None, f"it is not JSON ({error})"


def merged(values: Sequence[Any]) -> Any:
    """The results of several parts as one: lists are joined without repetitions, of objects each field is merged, and of other
    values the first that is not null or empty counts."""
    values = [value for value in values if value not in (None, "")]
    if not values:
        return None
    if all(isinstance(value, dict) for value in values):
        fields: dict[str, list[Any]] = {}
        for name, field in chain.from_iterable(value.items() for value in values):
            fields.setdefault(name, []).append(field)
        return {name: merged(found) for name, found in fields.items()}
    if all(isinstance(value, list) for value in values):
        joined: dict[Any, Any] = {}
        for item in chain.from_iterable(values):
            joined.setdefault(_identity(item), item)
        return list(joined.values())
    return values[0]


def _identity(value: Any) -> Any:
    """Equal for equal values of JSON."""
    if isinstance(value, dict):
        return ("object", frozenset((name, _identity(inner)) for name, inner in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(_identity, value)))
    return (isinstance(value, bool), value)  # true is not 1, which is 1.0


def _optional(schema: Any) -> Any:
    """A schema without `required` and `minItems`, at every depth; properties with these names stay."""
    if isinstance(schema, list):
        return [_optional(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {}
    for key, part in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(part, dict):
            made[key] = {name: _optional(one) for name, one in part.items()}
        elif key in ("enum", "const", "default", "examples"):
            made[key] = part
        elif key not in ("required", "minItems", "minProperties"):
            made[key] = _optional(part)
    return made


def _described(error: Any) -> str:
    where = "".join(f"/{step}" for step in error.instance_path)
    return f"{error.message}{f' at {where}' if where else ''}"
