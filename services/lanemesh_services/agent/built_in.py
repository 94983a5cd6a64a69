"""The built-in tools of an agent: peek into a stored result, and cancel a call that runs in the background."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lanemesh import ToolSpec
from lanemesh.extend import to_json

from lanemesh_services.agent.result_store import MAX_PEEK, ResultStore

PEEK = "peek"
"""Reads a part of a stored result."""
CANCEL = "cancel_call"
"""Cancels a call that runs."""


def peek_spec(name: str) -> ToolSpec:
    """The tool that reads a part of a stored result."""
    return ToolSpec(
        name,
        "Reads a part of an earlier result by its key: items of a list, or characters of a text.",
        {
            "type": "object",
            "properties": {
                "key": {"type": "string", "description": "Key of the result, such as wave-2.r1."},
                "path": {"type": "string", "description": "Path into it, such as /rows/0/name; empty: the whole."},
                "start": {"type": "integer", "minimum": 0, "description": "First item or character, from 0."},
                "length": {"type": "integer", "minimum": 1, "maximum": MAX_PEEK, "description": "Number of them."},
            },
            "required": ["key"],
            "additionalProperties": False,
        },
    )


def cancel_spec(name: str) -> ToolSpec:
    """The tool that cancels a call."""
    return ToolSpec(
        name,
        "Cancels a tool call that still runs in the background.",
        {
            "type": "object",
            "properties": {"call_id": {"type": "string", "description": "Id of the call."}},
            "required": ["call_id"],
            "additionalProperties": False,
        },
    )


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The name of a built-in tool: the wanted one, or one with "agent_" in front if a helper has a tool of that name."""
    name = wanted
    while name in taken:
        name = f"agent_{name}"
    return name


def peek(store: ResultStore, arguments: Mapping[str, Any]) -> str:
    """A part of a stored result as JSON text. Raises ValueError if there is no such part."""
    part = store.peek(
        str(arguments["key"]),
        str(arguments.get("path", "")),
        int(arguments.get("start", 0)),
        int(arguments.get("length", MAX_PEEK)),
    )
    return to_json(part)
