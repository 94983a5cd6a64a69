"""Forms (`multipart/form-data`, RFC 7578): their parts, as they arrive."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lanemesh_orchestrator.gateway.problems import bad_request
from lanemesh_orchestrator.gateway.webhooks.media_types import PLAIN, ContentType, content_type

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_UNLOGGED = logging.Logger("lanemesh.gateway.forms", logging.CRITICAL)
"""Keeps a client from filling the log with a line for each invalid form: the response has the error."""
MAX_PARTS = 1_000
"""Most parts of a form."""
MAX_FILE_NAME = 255
"""Longest name of a file, in characters; a longer one is cut."""


@dataclass(frozen=True, slots=True)
class Part:
    """The head of a part; its content follows."""

    type: ContentType
    """Its type: that of a field without one is plain text."""
    file_name: str
    """The name of a file without its folders; empty: it has none."""


class PartEnd:
    """The content of a part has ended."""


Event = Part | PartEnd | bytes


async def form_events(pieces: AsyncIterator[bytes], type: ContentType) -> AsyncGenerator[Event, None]:  # noqa: A002
    """The parts of a form: a `Part`, its content in bytes, a `PartEnd`, and so on.

    Args:
        pieces: the body.
        type: its type, with the boundary.

    Raises:
        LanemeshError: it is not a valid form, is cut off, or has more than 1,000 parts ("bad-request").
    """
    parser = FormParser(type)
    async for piece in pieces:
        for event in parser.feed(piece):
            yield event
    parser.finish()


class FormParser:
    """Parses a form piece by piece."""

    def __init__(self, type: ContentType) -> None:  # noqa: A002
        """Raises LanemeshError if the type has no valid boundary."""
        boundary = type.parameters.get(b"boundary", b"")
        if not 0 < len(boundary) <= 70:
            raise bad_request("a form needs a boundary of 1 to 70 characters in its Content-Type")
        self._events: list[Event] = []
        self._header = b""
        """The name of the header that arrives."""
        self._header_text = b""
        """Its value so far."""
        self._headers: dict[bytes, bytes] = {}
        """Those of the part that arrives, by their names in lower case."""
        self._parts = 0
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": lambda: self._events.append(PartEnd()),
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)
        self._parser.logger = _UNLOGGED

    def feed(self, piece: bytes) -> list[Event]:
        """The events of a piece of the body. Raises LanemeshError if it is not valid."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise bad_request(f"the form is not valid: {str(error)[:200]}") from None
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """The body has ended. Raises LanemeshError if the form has not."""
        if not self._ended:
            raise bad_request("the form is cut off: its last boundary is missing. Send all of it")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise bad_request(f"the form has more than {MAX_PARTS:,} parts. Send several forms")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_text += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._header_text
        self._header = self._header_text = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = plain_name(options.get(b"filename", b"").decode(errors="replace"))
        given = self._headers.get(b"content-type", b"").decode("latin-1")
        default = "" if b"filename" in options else PLAIN
        self._events.append(Part(content_type(given or default, name), name))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(bytes(data[start:end]))

    def _end(self) -> None:
        self._ended = True


def plain_name(given: str) -> str:
    """The name of a file without its folders and what is not printable, at most 255 characters; empty if nothing is left."""
    last = given.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in last if character.isprintable()).strip()
    return "" if name in (".", "..") else name[:MAX_FILE_NAME]
