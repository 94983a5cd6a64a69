"""The secret values of a config: those that its schema marks, and those from the environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lanemesh.server.file_roots import referenced
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.faults import escape
from lanemesh_orchestrator.pipeline.patterns import matches, may_match

MIN_VARIABLE = 8
"""Shortest value of an environment variable, in characters, that counts as a secret: shorter ones are mostly switches."""

_MARKS = ('"password"', '"writeOnly"')
_MAX_DEPTH = 64


def marked(schema_text: str, schema: Mapping[str, Any], values: JsonValue) -> list[str]:
    """JSON pointers to the values of a config that its schema (as text, and parsed) marks as secret, as pydantic does for
    `SecretStr`: `"format": "password"`, or `"writeOnly": true`."""
    if not marks_secrets(schema_text):
        return []
    return list(dict.fromkeys(_marked(schema, schema, values, "", _MAX_DEPTH)))


def marks_secrets(schema_text: str) -> bool:
    """Whether a schema may mark values as secret."""
    return any(mark in schema_text for mark in _MARKS)


def _marked(root: Mapping[str, Any], rule: Any, value: JsonValue, pointer: str, depth: int) -> Iterator[str]:
    if not isinstance(rule, Mapping) or value is None or not depth:
        return
    if rule.get("format") == "password" or rule.get("writeOnly") is True:
        yield pointer
        return
    alike = [part for key in ("allOf", "anyOf", "oneOf") for part in rule.get(key) or ()]
    reference = rule.get("$ref")
    if isinstance(reference, str):
        alike.append(referenced(root, reference))
    for part in alike:
        yield from _marked(root, part, value, pointer, depth - 1)
    if isinstance(value, dict):
        for key, inner in value.items():
            for part in _rules_of(rule, key):
                yield from _marked(root, part, inner, f"{pointer}/{escape(key)}", depth - 1)
    elif isinstance(value, list):
        first = rule.get("prefixItems") or ()
        for index, inner in enumerate(value):
            part = first[index] if index < len(first) else rule.get("items")
            yield from _marked(root, part, inner, f"{pointer}/{index}", depth - 1)


def _rules_of(rule: Mapping[str, Any], key: str) -> Iterable[Any]:
    """The schemas of the value of a key, in a schema of objects: also those that may be of it, if that is uncertain."""
    known = rule.get("properties")
    if isinstance(known, Mapping) and key in known:
        return [known[key]]
    patterns = rule.get("patternProperties") or {}
    matching = [part for pattern, part in patterns.items() if may_match(pattern, key)]
    if any(matches(pattern, key) for pattern in patterns):
        return matching
    return [*matching, rule.get("additionalProperties")]


def from_variables(values: JsonValue, put_in: Iterable[tuple[str, str]]) -> list[str]:
    """JSON pointers to the values of variables in a config, given as pointers to strings and the inserted texts. If a text is only
    a part of the string, a second pointer has the range of the characters where it stands first: "/authorization/7:39"."""
    pointers: list[str] = []
    for pointer, text in put_in:
        value = value_at(values, pointer)
        if len(text) < MIN_VARIABLE or not isinstance(value, str):
            continue
        pointers.append(pointer)
        start = value.find(text)
        if value != text and start >= 0:
            pointers.append(f"{pointer}/{start}:{start + len(text)}")
    return list(dict.fromkeys(pointers))


def value_at(tree: Any, pointer: str) -> Any:
    """The value of a JSON pointer."""
    for part in pointer.split("/")[1:]:
        tree = tree[int(part)] if isinstance(tree, list) else tree[part.replace("~1", "/").replace("~0", "~")]
    return tree
