"""The errors of tools that are functions: faults of their definition, and failures of a call as results that a model can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lanemesh.chat import ToolResult
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.rendering import valid_unicode

MAX_MESSAGE = 4_000
"""Longest message of a failed call, in characters; a longer one is cut."""


def bad_function(where: str, name: str, why: str, hint: str) -> LanemeshError:
    """A function cannot be a tool. `where` is its file or class."""
    message = f"the function {name} in {where} cannot be a tool: {why}. {hint}"
    return LanemeshError(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="bad-tool-function",
            message=message,
            details={"file": where, "tool": name},
        )
    )


def unknown_tool(name: str, known: Mapping[str, object]) -> LanemeshError:
    """The helper has no tool with this name."""
    message = f'there is no tool "{name}"; the tools: {", ".join(known) or "none"}'
    return LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-tool", message=message, details={"tool": name}))


class CallFailed(Exception):
    """A call failed for a reason that the model can read, and possibly correct."""

    def __init__(self, reason: str, message: str, **more: Any) -> None:
        """`more`: further fields of the result, which are JSON."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.more = more

    def result(self) -> ToolResult:
        """The result of the call."""
        return failure(self.reason, self.message, **self.more)


def failure(reason: str, message: str, **more: Any) -> ToolResult:
    """A failed call as a result: an object with the message as "error", the reason, and any further fields."""
    text = valid_unicode(message)
    text = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}... ({len(text):,} characters)"
    return ToolResult(json.dumps({"error": text, "reason": reason, **more}, ensure_ascii=False), is_error=True)
