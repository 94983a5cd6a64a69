"""Files as values: media by their type, texts as documents, and everything else as documents whose file has not been read."""

from __future__ import annotations

import base64
import mimetypes
import secrets
from collections.abc import Iterator

from lanemesh.codec import make_item
from lanemesh.items import MAX_VALUE_BYTES, Envelope, Group, Item, LaneType
from lanemesh.values import Audio, Document, Image, Media, Tags, Video, bytes_of, with_bytes

UNKNOWN_TYPE = "application/octet-stream"
"""The media type of files whose type is not known."""
MAX_TEXT_BYTES = MAX_VALUE_BYTES - 64 * 1024
"""Longest text that is the content of one document, in bytes; the file of a longer one is not read."""
WHOLE_BYTES = 8 * 1024 * 1024
"""Largest file that is one item; larger ones are a group of pieces."""
PIECE_BYTES = 1024 * 1024
"""Largest piece of a file."""

_MEDIA: dict[str, type[Image | Audio | Video]] = {"image": Image, "audio": Audio, "video": Video}
_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml", "application/toml"})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def media_type_of(name: str) -> str:
    """The media type of a file by its name, such as "application/pdf"; empty if the name has none."""
    return mimetypes.guess_type(name, strict=False)[0] or ""


def file_value(name: str, content: bytes, mime_type: str = "") -> Document | Image | Audio | Video:
    """The value of a file.

    Args:
        name: its name, which becomes the source of a document.
        content: its bytes.
        mime_type: its media type; empty: by its name.

    Returns:
        An image, audio or video by its type. A document with its text, if it is UTF-8 text of at most 16 MiB. Otherwise a document
        with the file itself, whose text `parse` can read.

    Raises:
        ValueError: it has more than 256 MiB.
    """
    kind = mime_type or media_type_of(name)
    media = _MEDIA.get(kind.partition("/")[0])
    if media is not None:
        return media(kind, content)
    if is_text_type(kind) and len(content) <= MAX_TEXT_BYTES:
        text = _text_of(content)
        if text is not None:
            return Document(text, source=name)
    return file_document(name, content, kind)


def file_document(name: str, content: bytes, mime_type: str = "") -> Document:
    """A file as a document whose text has not been read. Raises ValueError if it has more than 256 MiB."""
    return Document("", source=name, file=Media(mime_type or media_type_of(name) or UNKNOWN_TYPE, content))


def file_tags(value: Document | Media | str, name: str = "") -> Tags:
    """A file as RocketRide's lane `tags` carries it: `name`, `mime_type` and `content_base64`.

    Args:
        value: a text, a document or media.
        name: the name of the file; empty: the source of the document.
    """
    kind, content = "text/plain", b""
    if isinstance(value, Document):
        name = name or value.source
        file = value.file
        kind, content = (file.mime_type, file.content) if file is not None else (kind, value.content.encode())
    elif isinstance(value, Media):
        kind, content = value.mime_type, value.content
    else:
        content = value.encode()
    return Tags(name=name, mime_type=kind, content_base64=base64.b64encode(content).decode())


def file_items(value: Document | Image | Audio | Video, envelope: Envelope | None = None) -> Iterator[Item]:
    """A document or media value as one item, or if the file has more than 8 MiB as a group of pieces of 1 MiB each.

    Args:
        value: the document or the media.
        envelope: that of the item; of a group, its metadata are those of each piece.

    Raises:
        ValueRefused: no lane carries it.
    """
    lane = LaneType.DOCUMENTS if isinstance(value, Document) else LaneType(type(value).__name__.lower())
    content = bytes_of(value) or b""
    if len(content) <= WHOLE_BYTES:
        yield make_item(lane, value, envelope, where="the client")
        return
    group, metadata = f"file-{secrets.token_hex(8)}", envelope.metadata if envelope is not None else None
    starts = range(0, len(content), PIECE_BYTES)
    for index, start in enumerate(starts):
        piece = with_bytes(value, content[start : start + PIECE_BYTES])
        own = Envelope(group=Group(group, index, last=index == len(starts) - 1), metadata=metadata)
        yield make_item(lane, piece, own, where="the client")


def is_text_type(mime_type: str) -> bool:
    """Whether files of a media type are texts; one without a type may be."""
    kind = mime_type.partition(";")[0].strip().lower()
    return not kind or kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml", "+yaml"))


def _text_of(content: bytes) -> str | None:
    """The text of bytes; None if they are not UTF-8, or hold a NUL, as binary files do."""
    content = content.removeprefix(_BYTE_ORDER_MARK)
    if b"\0" in content[: 64 * 1024]:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
