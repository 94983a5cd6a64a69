"""Where the operator's variables may stand in configs of clients: which addresses get them, and which settings are secret."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lanemesh.server.file_roots import REMOTE_URL
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.faults import escape

REMOTE_ADDRESS = "remote-address"
"""The `format` of a "host:port" that a node connects to."""


def chosen_address(
    values: Mapping[str, JsonValue], known: Mapping[str, Any], of_operator: Collection[str]
) -> str | None:
    """The key of an address in a config that neither the node type nor the operator chose; None if there is none.

    Args:
        values: the config.
        known: the schema of each key.
        of_operator: JSON pointers to values that are those of the operator.
    """
    for key, rule in known.items():
        value = values.get(key)
        chosen = value is not None and isinstance(rule, Mapping) and value != rule.get("default")
        if chosen and _is_address(rule) and f"/{escape(key)}" not in of_operator:
            return key
    return None


def exposed(
    of_operator: Mapping[str, str], known: Mapping[str, Any], secret: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The secret variables of the operator in settings that are neither secret nor an address: pointers, and names.

    Args:
        of_operator: JSON pointers into the config to strings that hold such a variable, each with its name.
        known: the schema of each key.
        secret: JSON pointers to the values that the schema marks as secret.
    """
    addresses = [f"/{escape(key)}" for key, rule in known.items() if _is_address(rule)]
    for pointer, name in of_operator.items():
        if not any(pointer == allowed or pointer.startswith(f"{allowed}/") for allowed in (*secret, *addresses)):
            yield pointer, name


def _is_address(rule: Any) -> bool:
    if not isinstance(rule, Mapping):
        return False
    return rule.get("format") in (REMOTE_URL, REMOTE_ADDRESS) or any(map(_is_address, rule.get("anyOf") or ()))
