"""The settings of a JSON schema as rows of a table: those of objects within are rows as well, such as `budget.calls`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 4
"""Most levels of objects within objects that have rows."""
_DEFINITIONS = "#/$defs/"


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table."""

    name: str
    """Its name. Of a setting within: `object.setting`, `list[].setting` or `mapping.*.setting`."""
    type: str
    """Its type in a few words."""
    default: str
    """Its default as JSON, or "required"."""
    meaning: str
    """Its description."""


def settings(schema: Mapping[str, Any]) -> list[Setting]:
    """The settings of a config by its JSON schema, each before those of its own object."""
    definitions = schema.get("$defs", {})
    return [*_settings(_resolved(schema, definitions), definitions, "", (str(schema.get("$ref", "")),))]


def type_name(about: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: `integer`, `string or null`, `array of string`, `object of number`, `"a" or "b"`.

    Args:
        about: the schema.
        definitions: the schemas that it may refer to, by name.
    """
    about = _resolved(about, definitions)
    if "enum" in about:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in about["enum"])
    if "const" in about:
        return json.dumps(about["const"], ensure_ascii=False)
    for kind in ("anyOf", "oneOf"):
        if kind in about:
            return " or ".join(dict.fromkeys(type_name(part, definitions) for part in about[kind]))
    kind = about.get("type", "any")
    if kind == "array" and isinstance(about.get("items"), dict):
        return f"array of {_within(about['items'], definitions)}"
    if kind == "object" and isinstance(about.get("additionalProperties"), dict) and about["additionalProperties"]:
        return f"object of {_within(about['additionalProperties'], definitions)}"
    return " or ".join(kind) if isinstance(kind, (list, tuple)) else str(kind)


def _within(about: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The type of the values in a list or a mapping."""
    name = type_name(about, definitions)
    return f"({name})" if " or " in name and "anyOf" in _resolved(about, definitions) else name


def _resolved(about: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a schema refers to, or itself."""
    reference = about.get("$ref")
    if not isinstance(reference, str):
        return about
    found = definitions.get(reference.removeprefix(_DEFINITIONS))
    return found if isinstance(found, Mapping) else {}


def _settings(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str, above: tuple[str, ...]
) -> Iterator[Setting]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return
    required = schema.get("required", [])
    for name, about in properties.items():
        default = "required" if name in required else json.dumps(about.get("default"), ensure_ascii=False)
        meaning = str(about.get("description", ""))
        yield Setting(prefix + name, type_name(about, definitions), default, meaning)
        for suffix, reference in _objects(about, ""):
            if reference not in above and len(above) <= MAX_DEPTH:
                inner = _resolved({"$ref": reference}, definitions)
                yield from _settings(inner, definitions, f"{prefix}{name}{suffix}.", (*above, reference))


def _objects(about: Mapping[str, Any], suffix: str) -> Iterator[tuple[str, str]]:
    """The objects that a schema refers to, and how their settings are named."""
    if isinstance(reference := about.get("$ref"), str):
        yield suffix, reference
    for kind in ("anyOf", "oneOf"):
        for part in about.get(kind, []):
            yield from _objects(part, suffix)
    for kind, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(inner := about.get(kind), Mapping):
            yield from _objects(inner, suffix + mark)
