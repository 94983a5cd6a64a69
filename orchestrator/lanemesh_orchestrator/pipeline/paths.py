"""Paths in configs: a relative one in a document that came from a file counts from the folder of that file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from lanemesh.server.file_roots import PATH_FORMATS, alternatives
from pydantic import JsonValue

_MAX_DEPTH = 64


def from_folder(
    value: JsonValue, rule: Any, schema: Mapping[str, Any], folder: str, depth: int = _MAX_DEPTH
) -> JsonValue:
    """Resolves the relative paths in a config value, at any depth, against `folder`. Other values are unchanged.

    Args:
        value: the value.
        rule: its rule in the JSON schema of the config.
        schema: that JSON schema.
        folder: the folder of the document.
        depth: the number of levels that are searched.
    """
    if not depth:
        return value
    rules = list(alternatives(rule, schema))
    if isinstance(value, list):
        return [
            from_folder(part, _rule_of_item(rules, index), schema, folder, depth - 1)
            for index, part in enumerate(value)
        ]
    if isinstance(value, dict):
        return {
            key: from_folder(part, _rule_of_key(rules, key), schema, folder, depth - 1) for key, part in value.items()
        }
    is_path = any(one.get("format") in PATH_FORMATS for one in rules)
    if not is_path or not isinstance(value, str) or not value or value.startswith("~"):
        return value
    return str(PurePath(folder) / value)


def _rule_of_item(rules: list[Mapping[str, Any]], index: int) -> Mapping[str, Any]:
    """The rule of an item of a list that has these rules."""
    firsts = [(one.get("prefixItems") or (), one.get("items")) for one in rules]
    return {"anyOf": [first[index] if index < len(first) else others for first, others in firsts]}


def _rule_of_key(rules: list[Mapping[str, Any]], key: str) -> Mapping[str, Any]:
    """The rule of a key of an object that has these rules."""
    found = [(one.get("properties") or {}).get(key, one.get("additionalProperties")) for one in rules]
    return {"anyOf": [rule for rule in found if isinstance(rule, Mapping)]}
