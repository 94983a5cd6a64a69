"""Items of any lane as JSON, as text, and in the words of errors."""

from __future__ import annotations

import hashlib
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from lanemesh import Answer, Document, Media, Question
from lanemesh.extend import to_json

_SCALARS = frozenset({str, int, float, bool, type(None)})
SHOWN = 60
"""Most characters of an item that errors show."""


def as_json(value: Any, *, whole: bool = False) -> Any:
    """A value of any lane as JSON. Empty fields are left out.

    Args:
        value: the value.
        whole: the bytes of media are in it, as "content_base64"; otherwise their number, as "content".
    """
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Mapping):
        return {key: as_json(inner, whole=whole) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner, whole=whole) for inner in value]
    if isinstance(value, bytes):
        return b64encode(value).decode() if whole else len(value)
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {
            f"{name}_base64" if whole and isinstance(inner, bytes) else name: as_json(inner, whole=whole)
            for name, inner in pairs
            if not _is_empty(value, name, inner)
        }
    return value


def _is_empty(value: Any, name: str, inner: Any) -> bool:
    if isinstance(value, Media) and name != "timestamp":
        return not inner  # 0 is unknown
    return inner is None or inner in ((), b"") or inner == {}


def text_of(value: Any) -> str:
    """The text of an item: of a question, an answer or a document; JSON text of data; empty for media."""
    if isinstance(value, str):
        return value
    if isinstance(value, Question | Answer):
        return value.text
    if isinstance(value, Document):
        return value.content
    if isinstance(value, Media):
        return ""
    return str(to_json(as_json(value)))


def content_hash(value: Any) -> bytes:
    """A hash of an item's type and whole content, bytes included."""
    digest = hashlib.blake2b(digest_size=16)
    _hash(digest, value)
    return digest.digest()


def _hash(digest: Any, value: Any) -> None:
    if isinstance(value, bytes):
        parts: list[Any] = []
        raw = value
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in fields(value)]
        raw = b""
    elif isinstance(value, Mapping):
        parts = [part for pair in sorted(value.items()) for part in pair]
        raw = b""
    elif isinstance(value, list | tuple):
        parts, raw = list(value), b""
    else:
        parts, raw = [], repr(value).encode("utf-8", "surrogatepass")
    digest.update(f"{type(value).__name__} {len(parts)} {len(raw)} ".encode())
    digest.update(raw)
    for part in parts:
        _hash(digest, part)


def memory_of(value: Any) -> int:
    """The bytes of memory of an item with all that it holds: texts, files, metadata, embeddings, data. What several parts of it
    share counts for each of them."""
    total = 0
    rest = [value]
    while rest:
        one = rest.pop()
        total += sys.getsizeof(one)
        if is_dataclass(one) and not isinstance(one, type):
            rest.extend(getattr(one, field.name) for field in fields(one))
        elif isinstance(one, Mapping):
            rest.extend(one.keys())
            rest.extend(one.values())
        elif isinstance(one, list | tuple | set | frozenset):
            rest.extend(one)
    return total


def described(value: Any) -> str:
    """How errors name an item: a document by its source, another item by its beginning."""
    is_data = not is_dataclass(value) and not isinstance(value, str)
    kind = "the data" if is_data else "the text" if isinstance(value, str) else f"the {type(value).__name__.lower()}"
    if isinstance(value, Document) and value.source:
        place = f", chunk {value.chunk_index}" if value.chunk_index is not None else ""
        return f"{kind} of {value.source:.200}{place}"
    if isinstance(value, Media):
        when = f" at {value.timestamp:g} s" if value.timestamp is not None else ""
        return f"{kind} ({value.mime_type or 'no type'}, {len(value.content):,} bytes{when})"
    text = text_of(value)
    return f'{kind} "{text[:SHOWN]}{"..." if len(text) > SHOWN else ""}"'
