"""Reads what a GGUF file says of its model, without loading it and without a library.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lanemesh_services.llm.errors import unusable

MAX_ENTRIES = 100_000
"""Most metadata entries that are read; real files have some dozens."""
MAX_KEY = 65_535
"""Longest key, in bytes, that the format allows."""
MAX_TEXT = 64 * 1024 * 1024
"""Longest text value, in bytes, that is believed."""
KV_ELEMENT_BYTES = 2
"""Bytes of one number of the key-value cache: float16."""

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of its model."""

    path: Path
    """The file."""
    file_bytes: int
    """Its size."""
    values: Mapping[str, Any]
    """The metadata: numbers and texts by key. Arrays are left out."""

    @property
    def architecture(self) -> str:
        """The family of models, such as "llama"."""
        return str(self.values.get("general.architecture", ""))

    @property
    def context_length(self) -> int | None:
        """Most tokens that the model was made for; None if the file does not say."""
        return self._number("context_length")

    def cache_bytes(self, tokens: int) -> int:
        """Bytes that the key-value cache of this many tokens takes: keys and values of every layer, in float16.

        An estimate from above for models with sliding windows; 0 if the file does not say enough.
        """
        layers, width = self._number("block_count"), self._number("embedding_length")
        heads = self._number("attention.head_count")
        if not layers or not width or not heads:
            return 0
        kv_heads = self._number("attention.head_count_kv") or heads
        key = self._number("attention.key_length") or width // heads
        value = self._number("attention.value_length") or width // heads
        return layers * kv_heads * (key + value) * KV_ELEMENT_BYTES * tokens

    def _number(self, key: str) -> int | None:
        value = self.values.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else None


def read_header(path: Path) -> GgufHeader:
    """Reads the metadata of a GGUF file. Raises `ModelUnusable` if there is no such file, or it is none."""
    hint = "Give the path of a GGUF file."
    if not path.is_file():
        raise unusable(path, "there is no such file", hint)
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise unusable(path, "it is no GGUF file", hint)
            version, _tensors, entries = _unpack(file, "<IQQ")
            if version not in (2, 3):
                raise unusable(path, f"its format is version {version}", "Versions 2 and 3 are read; convert it anew.")
            if entries > MAX_ENTRIES:
                raise ValueError(f"{entries} metadata entries")
            values = {}
            for _ in range(entries):
                key, value = _text(file, MAX_KEY), _value(file)
                if value is not None:
                    values[key] = value
    except (OSError, ValueError, struct.error) as error:
        raise unusable(path, f"it cannot be read ({error})", "It may be cut off or damaged; fetch it again.") from error
    return GgufHeader(path=path, file_bytes=path.stat().st_size, values=values)


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _text(file: BinaryIO, limit: int = MAX_TEXT) -> str:
    (length,) = _unpack(file, "<Q")
    if length > limit:
        raise ValueError(f"a text of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it ends in the middle of a text")
    return data.decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int | None = None) -> Any:
    if kind is None:
        (kind,) = _unpack(file, "<I")
    if kind == _TEXT:
        return _text(file)
    if kind == _ARRAY:
        _skip_array(file)
        return None
    if kind not in _SCALARS:
        raise ValueError(f"a value of the unknown type {kind}")
    return _unpack(file, _SCALARS[kind])[0]


def _skip_array(file: BinaryIO) -> None:
    kind, count = _unpack(file, "<IQ")
    if kind in _SCALARS:
        file.seek(struct.calcsize(_SCALARS[kind]) * count, 1)
        return
    if kind not in (_TEXT, _ARRAY):
        raise ValueError(f"an array of the unknown type {kind}")
    for _ in range(count):
        if kind == _ARRAY:
            _skip_array(file)
        else:
            (length,) = _unpack(file, "<Q")
            if length > MAX_TEXT:
                raise ValueError(f"a text of {length} bytes")
            file.seek(length, 1)
