"""A tiny model in the form of ONNX that has the inputs of Kokoro: each phoneme is a twentieth of a second of sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = 1_200
"""Samples of a phoneme, at 24 kHz."""
_FLOAT, _INT64 = 1, 7


def _varint(value: int) -> bytes:
    encoded = b""
    value &= 2**64 - 1
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def _message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message: numbers as varints, all else with its length."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += _varint(number << 3) + _varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            encoded += _varint(number << 3 | 2) + _varint(len(content)) + content
    return encoded


def _tensor(name: str, values: Any) -> bytes:
    kind = _FLOAT if values.dtype == np.float32 else _INT64
    return _message(*((1, size) for size in values.shape), (2, kind), (8, name), (9, values.tobytes()))


def _value(name: str, kind: int, *dimensions: int | str) -> bytes:
    shape = _message(*((1, _message((2 if isinstance(one, str) else 1, one))) for one in dimensions))
    return _message((1, name), (2, _message((1, _message((1, kind), (2, shape))))))


def _node(operator: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    named = [(1, name) for name in inputs]
    return _message(*named, (2, output), (4, operator), *((5, attribute) for attribute in attributes))


def write_kokoro(folder: Path) -> tuple[Path, Path]:
    """Writes a model and its voices `af_heart` and `af_sky`; returns their files."""
    to_float = _message((1, "to"), (3, _FLOAT), (20, 2))
    graph = _message(
        (1, _node("Cast", ["tokens"], "numbers", to_float)),
        (1, _node("Reshape", ["numbers", "column_shape"], "column")),
        (1, _node("Expand", ["column", "wide_shape"], "wide")),
        (1, _node("Reshape", ["wide", "flat_shape"], "flat")),
        (1, _node("Mul", ["flat", "scale"], "audio")),
        (2, "kokoro"),
        (5, _tensor("column_shape", np.array([-1, 1], dtype=np.int64))),
        (5, _tensor("wide_shape", np.array([1, SAMPLES], dtype=np.int64))),
        (5, _tensor("flat_shape", np.array([-1], dtype=np.int64))),
        (5, _tensor("scale", np.array([0.005], dtype=np.float32))),
        (11, _value("tokens", _INT64, 1, "phonemes")),
        (11, _value("style", _FLOAT, 1, 256)),
        (11, _value("speed", _FLOAT, 1)),
        (12, _value("audio", _FLOAT, "samples")),
    )
    model, voices = folder / "kokoro.onnx", folder / "voices.bin"
    model.write_bytes(_message((1, 8), (7, graph), (8, _message((1, ""), (2, 13)))))
    styles: dict[str, Any] = {name: np.zeros((510, 1, 256), dtype=np.float32) for name in ("af_heart", "af_sky")}
    with voices.open("wb") as file:
        np.savez(file, **styles)
    return model, voices
