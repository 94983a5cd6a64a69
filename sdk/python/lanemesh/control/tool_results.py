"""The bounds of results of tools, and the errors that they hold. Pure."""

from __future__ import annotations

import json

from lanemesh.chat import ToolPart, ToolResult
from lanemesh.items import MAX_VALUE_BYTES
from lanemesh.rendering import rendered
from lanemesh.values import Document

MAX_CONTENT_BYTES = 4 * 1024 * 1024
"""Largest JSON text of a result, in bytes of UTF-8."""
MAX_PARTS_BYTES = MAX_VALUE_BYTES - 2 * MAX_CONTENT_BYTES
"""Most bytes of all parts of a result together: about 8 MiB, so that a result fits into a message of gRPC."""


def bounded(tool: str, result: ToolResult) -> ToolResult:
    """The result, or an error that says so if it is larger than its bounds, or its content is no text."""
    if not isinstance(result.content, str):
        what = f"the content of its result is {rendered(result.content)}, which is no text. Give JSON as text"
        return _failure(f"the tool {tool} failed: {what}", result)
    size = len(result.content)
    if size > MAX_CONTENT_BYTES // 4:
        size = len(result.content.encode("utf-8", "replace"))
    if size > MAX_CONTENT_BYTES:
        return _too_large(tool, f"{size:,} bytes of JSON", f"{MAX_CONTENT_BYTES:,} bytes (4 MiB)", result)
    if result.parts and (size := sum(map(_size, result.parts))) > MAX_PARTS_BYTES:
        return _too_large(tool, f"{size:,} bytes of images and other parts", f"{MAX_PARTS_BYTES:,} bytes", result)
    return result


def error_text(content: str) -> str:
    """The message in the content of a failed call: its field "error" if it has one, otherwise all of it."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content
    error = value.get("error") if isinstance(value, dict) else value
    return error if isinstance(error, str) else content


def _size(part: ToolPart) -> int:
    if isinstance(part, Document):
        file = len(part.file.content) if part.file is not None else 0
        return 4 * (len(part.content) + len(part.embedding)) + file
    return len(part.content)


def _too_large(tool: str, what: str, limit: str, result: ToolResult) -> ToolResult:
    return _failure(f"the tool {tool} returned {what}; the limit is {limit}. Ask for less, or for a part of it", result)


def _failure(message: str, result: ToolResult) -> ToolResult:
    content = json.dumps({"error": message, "reason": "bad-result"})
    return ToolResult(content, is_error=True, usage=result.usage)
