"""What a value holds, and what of that is of protobuf."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message


def inside(value: Any) -> Iterator[Any]:
    """A value and all that it holds."""
    yield value
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from inside(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from inside(key)
            yield from inside(one)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from inside(one)


def protobuf_in(value: Any) -> list[type]:
    """The types of messages and enums of protobuf in a value."""
    return [type(one) for one in inside(value) if isinstance(one, Message) or type(one).__module__.endswith("_pb2")]
