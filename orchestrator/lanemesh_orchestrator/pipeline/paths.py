"""Paths in configs: a relative one in a document that came from a file counts from the folder of that file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from lanemesh.server.file_roots import PATH_FORMATS
from pydantic import JsonValue


def from_folder(value: JsonValue, rule: Any, folder: str) -> JsonValue:
    """Resolves the relative paths in a config value against `folder`, by its schema `rule`. Other values are unchanged."""
    if not isinstance(rule, Mapping):
        return value
    if isinstance(value, list):
        return [from_folder(part, rule.get("items"), folder) for part in value]
    if not isinstance(value, str) or not value or value.startswith("~") or not _is_path(rule):
        return value
    return str(PurePath(folder) / value)


def _is_path(rule: Mapping[str, Any]) -> bool:
    alternatives = rule.get("anyOf")
    parts = alternatives if isinstance(alternatives, list) else []
    return rule.get("format") in PATH_FORMATS or any(isinstance(part, Mapping) and _is_path(part) for part in parts)
