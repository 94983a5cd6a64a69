"""The result of an MCP tool as a result for a model."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from lanemesh import Audio, Document, Image, ToolResult
from lanemesh.extend import CallFailed, result_of, to_json
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)


def tool_result(name: str, result: CallToolResult) -> ToolResult:
    """The structured content, with any images, audio and documents; else the text, or a list of everything.

    Raises:
        CallFailed: "mcp-tool-failed": the tool itself reports an error.
    """
    if result.is_error:
        message = "\n".join(map(_text, result.content)) or "the tool failed without a message"
        raise CallFailed("mcp-tool-failed", message)
    values = [_value(block) for block in result.content]
    if result.structured_content is not None and values != [_wrapped(result.structured_content)]:
        parts = [value for value in values if isinstance(value, Image | Audio | Document)]
        return result_of(name, [result.structured_content, *parts] if parts else result.structured_content)
    return result_of(name, values[0] if len(values) == 1 else values)


def _wrapped(structured: Any) -> Any:
    """The text of an object that only wraps a text, as servers wrap results that are no objects."""
    return structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None


def _value(block: ContentBlock) -> Any:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return Image(block.mime_type, _bytes(block.data))
        case AudioContent():
            return Audio(block.mime_type, _bytes(block.data))
        case ResourceLink():
            return {"type": "link", "uri": block.uri, "name": block.name, "description": block.description or ""}
        case EmbeddedResource(resource=BlobResourceContents() as blob):
            return _of_blob(blob)
        case EmbeddedResource():
            return Document(getattr(block.resource, "text", ""), source=block.resource.uri)


def _of_blob(blob: BlobResourceContents) -> Any:
    kind, content = blob.mime_type or "application/octet-stream", _bytes(blob.blob)
    for prefix, media in (("image/", Image), ("audio/", Audio)):
        if kind.startswith(prefix):
            return media(kind, content)
    return {"type": "resource", "uri": blob.uri, "mime_type": kind, "bytes": len(content)}


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CallFailed("mcp-tool-failed", "the MCP server sent a medium that is not base64") from None


def _text(block: ContentBlock) -> str:
    return block.text if isinstance(block, TextContent) else to_json({"type": block.type})
