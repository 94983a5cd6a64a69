"""What a function returned as the result of a call: JSON text, and its images, audio, video and documents."""

from __future__ import annotations

import dataclasses
from typing import Any

from lanemesh.chat import ToolPart, ToolResult
from lanemesh.json_text import to_json
from lanemesh.rendering import rendered, text_of
from lanemesh.tools.errors import CallFailed
from lanemesh.values import Audio, Document, Image, Media, Video

MAX_DEPTH = 100
"""Deepest nesting of lists and dicts in a result."""


def result_of(tool: str, value: Any) -> ToolResult:
    """The result of a call that returned `value`: a JSON value, a model, a dataclass, an image or another media value, a document,
    or lists and dicts of them.

    Raises:
        CallFailed: "bad-result": JSON cannot express it.
    """
    if isinstance(value, ToolResult):
        return value
    parts: list[ToolPart] = []
    try:
        content = to_json(_described(value, parts, 0))
    except Exception as error:  # also of the serializers of user code
        raise CallFailed("bad-result", _not_json(tool, value, error)) from error
    return ToolResult(content, parts=tuple(parts))


def _described(value: Any, parts: list[ToolPart], depth: int) -> Any:
    """The value with descriptions in the place of media values and documents, which are added to `parts`."""
    if isinstance(value, Document):
        parts.append(value)
        return _of_document(value)
    if isinstance(value, Image | Audio | Video):
        parts.append(value)
        return _of_media(value)
    if isinstance(value, Media):
        raise TypeError("it is a Media of no kind; use Image, Audio or Video")
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if type(value) in (list, tuple):
        return [_described(item, parts, depth + 1) for item in value]
    if type(value) is dict:
        return {key: _described(item, parts, depth + 1) for key, item in value.items()}
    return value


def _of_document(document: Document) -> dict[str, Any]:
    fields = {item.name: getattr(document, item.name) for item in dataclasses.fields(document)}
    del fields["embedding"]
    if document.file is not None:
        fields["file"] = _of_media(document.file)
    return {name: value for name, value in fields.items() if value or name == "content" or value == 0}


def _of_media(media: Media) -> dict[str, Any]:
    kind = type(media).__name__.lower()
    described: dict[str, Any] = {"type": kind, "mime_type": media.mime_type}
    described |= {"uri": media.uri} if media.uri else {"bytes": len(media.content)}
    if media.width and media.height:
        described |= {"width": media.width, "height": media.height}
    return described


def _not_json(tool: str, value: Any, error: Exception) -> str:
    return (
        f"the tool {tool} returned {rendered(value)}, which is not JSON: {text_of(error):.500}. Return a JSON value (texts, "
        "numbers, lists, dicts), a dataclass, a pydantic model, an Image or a Document"
    )
