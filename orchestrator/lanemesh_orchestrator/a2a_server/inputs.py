"""The message of a client as the inputs of a run."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

from a2a.types import a2a_pb2
from a2a.utils.errors import ContentTypeNotSupportedError, InvalidParamsError
from google.protobuf import struct_pb2
from lanemesh.codec import encode, make_item
from lanemesh.items import LaneType
from lanemesh.v1 import run_pb2
from lanemesh.values import Audio, Image, Media, Video

MAX_INTEGER = 2**53
"""Largest number that is taken for an integer, and smallest if it is negative."""

_MEDIA: dict[str, type[Media]] = {"image": Image, "audio": Audio, "video": Video}


def inputs_of(message: a2a_pb2.Message) -> list[Any]:
    """The inputs of a run: the texts of a message as one, then each JSON value and each file. Raises A2AError."""
    texts = [part.text for part in message.parts if part.HasField("text")]
    inputs: list[Any] = ["\n".join(texts)] if texts else []
    inputs.extend(_others(message.parts))
    if not inputs:
        raise InvalidParamsError(message="the message has no content. Send a text, a JSON value or a file")
    return inputs


def _others(parts: Iterable[a2a_pb2.Part]) -> Iterable[Any]:
    for part in parts:
        if part.HasField("data"):
            item = make_item(LaneType.DATA, _json_of(part.data), where="the client")
            yield run_pb2.RunInput(item=encode(LaneType.DATA, item))
        elif part.HasField("raw") or part.HasField("url"):
            kind = _MEDIA.get(part.media_type.partition("/")[0])
            if kind is None:
                raise ContentTypeNotSupportedError(
                    message=f'a file of the type "{part.media_type[:80]}" is not accepted; send an image, audio or video'
                )
            yield kind(mime_type=part.media_type, content=part.raw, uri=part.url)


def _json_of(value: struct_pb2.Value) -> Any:
    """A JSON value. It has numbers of one kind, so that those without a fraction are integers here, up to 2**53, where a float has
    every integer. Raises InvalidParamsError for NaN and infinity, which JSON has not."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: _json_of(one) for key, one in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_json_of(one) for one in value.list_value.values]
    if kind != "number_value":
        return getattr(value, kind) if kind in ("string_value", "bool_value") else None
    number = value.number_value
    if not isfinite(number):
        raise InvalidParamsError(message=f"{number} is no number of JSON. Send it as a text, or leave it out")
    return int(number) if number.is_integer() and abs(number) <= MAX_INTEGER else number
