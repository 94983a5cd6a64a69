"""Where the operator's variables may stand in configs of clients: which addresses get them, and which settings are secret."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from lanemesh.server.file_roots import REMOTE_URL, SECRET_URL, alternatives
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.faults import escape

REMOTE_ADDRESS = "remote-address"
"""The `format` of an address that a node connects to and that is not a URL: "host:port", or a host or a port alone."""

_MAX_DEPTH = 64


def chosen_address(
    values: Mapping[str, JsonValue],
    schema: Mapping[str, Any],
    of_node_type: Collection[str],
    of_operator: Collection[str],
) -> str | None:
    """The JSON pointer to an address in a config that neither the node type nor the operator chose; None if there is none.

    Args:
        values: the config.
        schema: its schema.
        of_node_type: keys of values that are those of a profile of the node type.
        of_operator: JSON pointers to values that are those of the operator.
    """
    chosen = {key: value for key, value in values.items() if key not in of_node_type}
    for pointer, usual in _addresses(chosen, [schema], schema):
        if not usual and pointer not in of_operator:
            return pointer
    return None


def exposed(
    of_operator: Mapping[str, str],
    values: Mapping[str, JsonValue],
    schema: Mapping[str, Any],
    secret: Collection[str],
) -> Iterator[tuple[str, str]]:
    """The secret variables of the operator in settings that are neither secret nor an address: pointers, and names.

    Args:
        of_operator: JSON pointers into the config to strings that hold such a variable, each with its name.
        values: the config.
        schema: its schema.
        secret: JSON pointers to the values that the schema marks as secret.
    """
    open_to = (*secret, *(pointer for pointer, _ in _addresses(dict(values), [schema], schema)))
    for pointer, name in of_operator.items():
        if not any(pointer == allowed or pointer.startswith(f"{allowed}/") for allowed in open_to):
            yield pointer, name


def is_address(rules: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the rules of a value, as `alternatives` gives them, marks it as an address that a node connects to."""
    return any(rule.get("format") in (REMOTE_URL, REMOTE_ADDRESS) or bool(rule.get(SECRET_URL)) for rule in rules)


def _addresses(
    value: JsonValue, given: Iterable[Any], schema: Mapping[str, Any], pointer: str = "", *, usual: bool = False
) -> Iterator[tuple[str, bool]]:
    """JSON pointers to the addresses in a value at a pointer, each with whether it is the default of its setting.

    Args:
        value: the value.
        given: the rules of its schema, each with those that it refers to.
        schema: the schema of the config.
        pointer: where the value is.
        usual: it is a part of a default.
    """
    every = {id(part): part for rule in given for part in alternatives(rule, schema)}
    rules = list(every.values())
    if value is None or pointer.count("/") > _MAX_DEPTH:
        return
    usual = usual or any(value == rule["default"] for rule in rules if "default" in rule)
    if is_address(rules):
        yield pointer, usual
    elif isinstance(value, dict):
        for key, inner in value.items():
            below = [(rule.get("properties") or {}).get(key, rule.get("additionalProperties")) for rule in rules]
            yield from _addresses(inner, below, schema, f"{pointer}/{escape(key)}", usual=usual)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            below = [_rule_at(index, rule) for rule in rules]
            yield from _addresses(inner, below, schema, f"{pointer}/{index}", usual=usual)


def _rule_at(index: int, rule: Mapping[str, Any]) -> Any:
    """The rule of an element of a list."""
    first = rule.get("prefixItems") or ()
    return first[index] if index < len(first) else rule.get("items")
