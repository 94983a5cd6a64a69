"""Reads the metadata of a GGUF file without loading the model and without a library.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lanemesh_services.shared.errors import unusable

MAX_ENTRIES = 100_000
"""Maximum number of metadata entries; real files have some dozens."""
MAX_KEY = 65_535
"""Maximum length of a key in bytes, by the format."""
MAX_TEXT = 64 * 1024 * 1024
"""Maximum accepted length of a text value, in bytes."""
KV_ELEMENT_BYTES = 2
"""Bytes of one number of the key-value cache: float16."""

MAX_TENSORS = 1_000_000
"""Maximum accepted number of tensors; the largest models have some thousands."""
MAX_DIMENSIONS = 4
"""Maximum number of dimensions of a tensor, by the format."""
ALIGNMENT = 32
"""Default alignment of the tensors' data, in bytes."""

EMBEDDERS = frozenset(
    {
        *("bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed", "modern-bert"),
        *("neo-bert", "nomic-bert", "nomic-bert-moe", "t5encoder"),
    }
)
"""Architectures that only embed or encode."""
OTHERS = {
    "clip": "the image or audio part of a multimodal model",
    "dream": "a diffusion model",
    "llada": "a diffusion model",
    "llada-moe": "a diffusion model",
    "rnd1": "a diffusion model",
    "t5": "a translation model, with an encoder and a decoder",
    "wavtokenizer-dec": "a decoder of audio",
}
"""Architectures that do not generate text token by token."""

_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
}
"""Numbers per block and bytes per block of the tensor types (`GGML_QUANT_SIZES` of the package gguf)."""
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9
_CONTROL = 3
"""Type of a token that represents no text."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The metadata of a GGUF file."""

    path: Path
    """The file."""
    file_bytes: int
    """Its size."""
    values: Mapping[str, Any]
    """The metadata: numbers and texts by key, without arrays."""
    tensors: int
    """How many tensors it lists."""
    least_bytes: int
    """Minimum size of a file with all of them; tensors of unknown types count nothing."""

    @property
    def architecture(self) -> str:
        """The family of models, such as "llama"."""
        return str(self.values.get("general.architecture", ""))

    @property
    def context_length(self) -> int | None:
        """Context length of the model in tokens; None if the file does not have it."""
        return self._number("context_length")

    @property
    def layers(self) -> int | None:
        """Number of layers; None if the file does not have it."""
        return self._number("block_count")

    @property
    def chat_template(self) -> str:
        """The chat template of the model; empty if there is none."""
        return str(self.values.get("tokenizer.chat_template", ""))

    @property
    def embeds(self) -> bool:
        """Whether the model gives one vector for a text: by its architecture, its pooling or its attention."""
        pooled = self._number("pooling_type") or 0
        return self.architecture in EMBEDDERS or pooled > 0 or self._value("attention.causal") is False

    def cache_bytes(self, tokens: int) -> int:
        """Size in bytes of the key-value cache of this number of tokens: keys and values of every layer, in float16.

        An upper bound for models with sliding windows; 0 if the file lacks metadata for it.
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
        value = self._value(key)
        return value if isinstance(value, int) else None

    def _value(self, key: str) -> Any:
        return self.values.get(f"{self.architecture}.{key}")


def check_chat_model(header: GgufHeader) -> None:
    """Raises `ModelUnusable` if a file has no language model for chat, or is incomplete."""
    path, hint = header.path, "Use a GGUF file of a language model that was trained to chat."
    kind, architecture = header.values.get("general.type", "model"), header.architecture
    if not architecture:
        raise unusable(path, "its metadata have no architecture", hint)
    if architecture in OTHERS:
        raise unusable(path, f"it is {OTHERS[architecture]} ({architecture}), not a language model", hint)
    if kind != "model":
        raise unusable(path, f'it is not a language model: it is of the type "{kind}"', hint)
    if header.embeds:
        raise unusable(path, f"it is an embedding model ({architecture}), not a language model", hint)
    if not header.tensors:
        raise unusable(path, "it is not a language model: it has a vocabulary but no weights", hint)
    if header.values.get("tokenizer.ggml.model", "no_vocab") in ("no_vocab", "none"):
        raise unusable(path, "it is not a language model: it has no tokenizer", hint)
    if header.file_bytes < header.least_bytes:
        why = f"it is truncated: it has {header.file_bytes:,} bytes of at least {header.least_bytes:,}"
        raise unusable(path, why, "Fetch it again.")
    if not header.chat_template:
        why = "it has no chat template (tokenizer.chat_template), so it is not a chat model"
        raise unusable(path, why, "Use the variant that was trained to chat, often called Instruct.")


def read_header(path: Path) -> GgufHeader:
    """Reads the metadata of a GGUF file. Raises `ModelUnusable` if there is no such file, or it is not a GGUF file."""
    hint = "Give the path of a GGUF file."
    if path.is_dir():
        raise unusable(path, "it is a folder", hint)
    if not path.is_file():
        raise unusable(path, "there is no such file", hint)
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise unusable(path, "it is not a GGUF file", hint)
            version, tensors, entries = _unpack(file, "<IQQ")
            if version not in (2, 3):
                raise unusable(
                    path, f"its format is version {version}", "Versions 2 and 3 are supported; convert it again."
                )
            if entries > MAX_ENTRIES or tensors > MAX_TENSORS:
                raise ValueError(f"{entries} metadata entries, {tensors} tensors")
            values = {}
            for _ in range(entries):
                key, value = _text(file, MAX_KEY), _value(file)
                if value is not None:
                    values[key] = value
            data_bytes = max([_tensor_end(file) for _ in range(tensors)], default=0)
            begin = file.tell()
    except (OSError, ValueError, OverflowError, RecursionError, struct.error) as error:
        raise unusable(
            path, f"it cannot be read ({error})", "It may be truncated or damaged; download it again."
        ) from error
    alignment = values.get("general.alignment", ALIGNMENT) or ALIGNMENT
    least = -(-begin // alignment) * alignment + data_bytes if tensors else begin
    return GgufHeader(path=path, file_bytes=path.stat().st_size, values=values, tensors=tensors, least_bytes=least)


def control_tokens(path: Path) -> dict[str, int]:
    """The tokens of a model that represent no text, such as "<|im_start|>", with their numbers.

    Reads the whole vocabulary: some 0.1 s for 100,000 tokens. Raises `ModelUnusable` as `read_header` does.
    """
    names: list[str] = []
    kinds: tuple[int, ...] = ()
    try:
        with path.open("rb") as file:
            _, _, _, entries = _unpack(file, "<IIQQ")
            for _ in range(entries):
                key = _text(file, MAX_KEY)
                if key == "tokenizer.ggml.tokens":
                    _, _, count = _unpack(file, "<IIQ")
                    names = [_text(file) for _ in range(count)]
                elif key == "tokenizer.ggml.token_type":
                    _, _, count = _unpack(file, "<IIQ")
                    kinds = _unpack(file, f"<{count}i")
                else:
                    _value(file)
    except (OSError, ValueError, OverflowError, RecursionError, struct.error) as error:
        raise unusable(
            path, f"it cannot be read ({error})", "It may be truncated or damaged; download it again."
        ) from error
    pairs = enumerate(zip(names, kinds, strict=False))
    return {name: number for number, (name, kind) in pairs if kind == _CONTROL}


def _tensor_end(file: BinaryIO) -> int:
    """Reads the description of one tensor; returns its end as an offset from the beginning of the tensors."""
    _text(file, MAX_KEY)
    (dimensions,) = _unpack(file, "<I")
    if dimensions > MAX_DIMENSIONS:
        raise ValueError(f"a tensor of {dimensions} dimensions")
    shape = _unpack(file, f"<{dimensions}Q")
    kind, offset = _unpack(file, "<IQ")
    numbers, size = _BLOCKS.get(kind, (1, 0))
    blocks: int = math.prod(shape) // numbers
    return int(offset) + blocks * size


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
