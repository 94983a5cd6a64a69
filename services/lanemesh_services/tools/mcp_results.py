"""The result of an MCP tool as a result for a model."""

from __future__ import annotations

from typing import Any

from lanemesh import ToolResult
from lanemesh.extend import to_json
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


def tool_result(result: CallToolResult) -> ToolResult:
    """The structured content, if there is some; else the text, or a list of everything."""
    if result.is_error:
        return ToolResult("\n".join(map(_text, result.content)) or "the tool failed without a message", is_error=True)
    if result.structured_content is not None:
        return ToolResult(to_json(result.structured_content))
    values = [_value(block) for block in result.content]
    return ToolResult(to_json(values[0] if len(values) == 1 else values))


def _value(block: ContentBlock) -> Any:
    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return {"type": block.type, "mime_type": block.mime_type, "bytes": len(block.data) * 3 // 4}
        case ResourceLink():
            return {"type": "link", "uri": block.uri, "name": block.name, "description": block.description or ""}
        case EmbeddedResource(resource=BlobResourceContents() as blob):
            kind = blob.mime_type or "application/octet-stream"
            return {"type": "resource", "uri": blob.uri, "mime_type": kind, "bytes": len(blob.blob) * 3 // 4}
        case EmbeddedResource():
            return {"type": "resource", "uri": block.resource.uri, "text": getattr(block.resource, "text", "")}


def _text(block: ContentBlock) -> str:
    return block.text if isinstance(block, TextContent) else to_json(_value(block))
