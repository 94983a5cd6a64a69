"""The outputs of a run as the content of an MCP result."""

from __future__ import annotations

import base64
import json
from typing import Any

from lanemesh.client.updates import OutputUpdate
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.json_values import copy_json
from lanemesh.summaries import summary
from lanemesh.values import Answer, Audio, Document, Image, Media, Question, Table
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

MAX_RESULT_BYTES = 16 * 1024 * 1024
"""Most bytes of one result."""
_BLOCK_BYTES = 64
"""What a block of content counts besides its text or bytes."""


class Outcome:
    """Collects the outputs of one run.

    The pieces of one text become one text block, and whole texts of one target are separated by a line break. Images, audio and
    documents become blocks of their own. JSON values become text, and the only value of a run its structured content.
    """

    def __init__(self, run_id: str) -> None:
        """`run_id` names the resources of documents and media that have no URI."""
        self._run_id = run_id
        self._blocks: list[ContentBlock | _Text] = []
        self._texts: dict[tuple[str, str], _Text] = {}
        self._values: list[Any] = []
        self._bytes = 0

    def add(self, output: OutputUpdate) -> str:
        """Adds an output; returns its text for a progress report.

        Raises:
            LanemeshError: the result is larger than 16 MiB ("result-too-large").
        """
        value = output.value
        if isinstance(value, str):
            return self._text(output, value)
        if isinstance(value, Answer):
            return self._text(output, value.text) if value.data is None else self._json(output, value.data)
        if isinstance(value, Question):
            return self._text(output, value.text)
        if isinstance(value, Media):
            return self._media(output, value)
        if isinstance(value, Document):
            return self._document(output, value)
        if isinstance(value, Table):
            return self._json(output, [dict(zip(value.columns, row, strict=True)) for row in value.rows])
        return self._json(output, value)

    def content(self) -> list[ContentBlock]:
        """All content, in the order of its beginnings."""
        return [block.content() if isinstance(block, _Text) else block for block in self._blocks]

    def structured(self) -> dict[str, Any] | None:
        """The JSON object that is the whole result; None if there is other content."""
        if len(self._values) == 1 and len(self._blocks) == 1 and isinstance(self._values[0], dict):
            return self._values[0]
        return None

    def _text(self, output: OutputUpdate, text: str) -> str:
        self._count(len(text.encode()))
        key = (output.component, output.port)
        if key not in self._texts:
            if not text and output.group is not None and output.group.last:
                return ""
            self._count(_BLOCK_BYTES)
            self._texts[key] = _Text()
            self._blocks.append(self._texts[key])
        self._texts[key].add(text, output.group.id if output.group is not None else None)
        return text

    def _json(self, output: OutputUpdate, value: Any) -> str:
        plain = copy_json(value)
        text = json.dumps(plain, ensure_ascii=False)
        self._count(2 * len(text.encode()) + _BLOCK_BYTES)
        self._values.append(plain)
        self._blocks.append(TextContent(text=text))
        return text

    def _media(self, output: OutputUpdate, media: Media) -> str:
        self._count(len(media.content) * 4 // 3 + _BLOCK_BYTES)
        self._blocks.append(block_of(media, f"{output.component}.{output.port}", self._uri(output)))
        if not media.content:
            return media.uri
        return f"{type(media).__name__.lower()} ({media.mime_type}, {len(media.content):,} bytes)"

    def _document(self, output: OutputUpdate, document: Document) -> str:
        file = len(document.file.content) * 4 // 3 if document.file is not None else 0
        self._count(len(document.content.encode()) + file + len(document.source) + _BLOCK_BYTES)
        self._blocks.append(block_of(document, f"{output.component}.{output.port}", self._uri(output)))
        return document.content or summary(document)

    def _uri(self, output: OutputUpdate) -> str:
        return f"lanemesh://runs/{self._run_id}/outputs/{output.component}/{output.port}/{len(self._blocks)}"

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > MAX_RESULT_BYTES:
            message = (
                f"the outputs of run {self._run_id} exceed {MAX_RESULT_BYTES:,} bytes, the limit of an MCP result, so the run was "
                "cancelled. Deploy a pipeline with smaller outputs, or run it with `lanemesh run`"
            )
            raise LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="result-too-large", message=message))


def block_of(value: Media | Document, name: str, uri: str) -> ContentBlock:
    """A medium or a document as content.

    Args:
        value: the medium or document.
        name: the name of a link to it.
        uri: its URI, if it has none.
    """
    if isinstance(value, Document):
        own = value.source if "://" in value.source else uri
        if value.file is not None and not value.content:
            return _blob(value.file, own)
        mime_type = value.metadata.get("mime_type")
        text = TextResourceContents(
            uri=own, mime_type=mime_type if isinstance(mime_type, str) else "text/plain", text=value.content
        )
        return EmbeddedResource(resource=text)
    if not value.content:
        return ResourceLink(name=name, uri=value.uri, mime_type=value.mime_type)
    data = base64.b64encode(value.content).decode("ascii")
    if isinstance(value, Image):
        return ImageContent(data=data, mime_type=value.mime_type)
    if isinstance(value, Audio):
        return AudioContent(data=data, mime_type=value.mime_type)
    return _blob(value, uri)


def _blob(media: Media, uri: str) -> EmbeddedResource:
    data = base64.b64encode(media.content).decode("ascii")
    return EmbeddedResource(resource=BlobResourceContents(uri=uri, mime_type=media.mime_type, blob=data))


class _Text:
    """The text of one target."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._group: str | None = None

    def add(self, text: str, group: str | None) -> None:
        """Appends a piece of a group, or a whole text."""
        if self._pieces and (group is None or group != self._group):
            self._pieces.append("\n")
        self._pieces.append(text)
        self._group = group

    def content(self) -> TextContent:
        return TextContent(text="".join(self._pieces))
