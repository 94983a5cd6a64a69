"""What callers write, as the wire has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Protocol

from lanemesh.v1 import run_pb2


class Written(Protocol):
    """A pipeline written in Python: `lanemesh.Pipeline`."""

    def to_json(self) -> str:
        """The document as JSON text."""


PipelineDocument = str | Mapping[str, Any] | Written
"""A pipeline: JSON text, the same as a dict, or one written in Python."""


def run_spec(
    pipeline: PipelineDocument, settings: Mapping[str, Any] | None, timeout: float | None = None
) -> run_pb2.RunSpec:
    """A pipeline and changes to its configs, as a `RunSpec`."""
    if isinstance(pipeline, Mapping):
        pipeline = json.dumps(pipeline)
    text = pipeline if isinstance(pipeline, str) else pipeline.to_json()
    spec = run_pb2.RunSpec(pipeline=text, settings={key: json.dumps(value) for key, value in (settings or {}).items()})
    if timeout is not None:
        spec.timeout.FromNanoseconds(int(timeout * 1e9))
    return spec


def input_list(one: Any, many: Iterable[Any] | AsyncIterable[Any] | None) -> Iterable[Any] | AsyncIterable[Any] | None:
    """One input and many of them as many. Raises ValueError if both are given."""
    if one is not None and many is not None:
        raise ValueError("give either input or inputs")
    return [one] if one is not None else many


def one_or_many(one: Any, many: Iterable[Any] | None) -> Iterable[Any]:
    """The same for inputs that are all there already. Raises ValueError if both are given."""
    if one is not None and many is not None:
        raise ValueError("give either input or inputs")
    return [one] if one is not None else many or ()
