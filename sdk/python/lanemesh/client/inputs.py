"""Values as the inputs of runs."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

from google.protobuf.message import Message

from lanemesh.client.specs import wire_text
from lanemesh.codec import encode, make_item
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import MAX_MESSAGE_BYTES, Item, LaneType
from lanemesh.v1 import run_pb2
from lanemesh.values import Answer, Audio, Document, Image, Question, Table, Tags, Video

FEW_INPUTS = 16
"""Most inputs that a run gets together with its start."""
FEW_BYTES = 64 * 1024
"""Most bytes of them: 64 KiB."""

SEND_PIECES = "Send a file in pieces (`file_items` of lanemesh.extend), or media with a `uri` in place of their content"
"""What to do about an input that is too large."""

_LANES: list[tuple[type, LaneType]] = [
    (str, LaneType.TEXT),
    (Question, LaneType.QUESTIONS),
    (Answer, LaneType.ANSWERS),
    (Document, LaneType.DOCUMENTS),
    (Table, LaneType.TABLE),
    (Tags, LaneType.TAGS),
    (Image, LaneType.IMAGE),
    (Audio, LaneType.AUDIO),
    (Video, LaneType.VIDEO),
]


def check_size(message: Message, what: str, hint: str = SEND_PIECES) -> None:
    """Raises LanemeshError ("message-too-large") if a message is larger than an orchestrator accepts. Its text has `what`, such as
    "an input", and what to do."""
    size = message.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        limit = f"a message to an orchestrator has at most {MAX_MESSAGE_BYTES:,} bytes (16 MiB)"
        text = f"{what} has {size:,} bytes, but {limit}. {hint}"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="message-too-large", message=text))


def few_inputs(values: Iterable[Any] | AsyncIterable[Any] | None) -> list[run_pb2.RunInput] | None:
    """All inputs of a run if they are known, at most `FEW_INPUTS` and 64 KiB; otherwise, or if one of them is invalid, None."""
    if values is None:
        return []
    if not isinstance(values, list | tuple) or len(values) > FEW_INPUTS:
        return None
    try:
        given = [to_input(value) for value in values]
    except Exception:  # the feeder reports it
        return None
    return given if sum(one.ByteSize() for one in given) <= FEW_BYTES else None


def to_input(value: Any, port: str = "") -> run_pb2.RunInput:
    """A value as an input of a run: also an item, such as a piece of a file. One that is an input already is returned.

    Raises:
        ValueRefused: no lane carries it.
        LanemeshError: the port is not valid Unicode.
    """
    if isinstance(value, run_pb2.RunInput):
        return value
    content, envelope = (value.value, value.envelope) if isinstance(value, Item) else (value, None)
    lane_type = next((lane for kind, lane in _LANES if isinstance(content, kind)), LaneType.DATA)
    item = make_item(lane_type, content, envelope, where="the client")
    return run_pb2.RunInput(port=wire_text(port, "the name of a port"), item=encode(lane_type, item))


async def each_input(inputs: Iterable[Any] | AsyncIterable[Any] | None) -> AsyncIterator[Any]:
    """The values of inputs that are all available, or arrive one by one."""
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            yield value
    elif inputs is not None:
        for value in inputs:
            yield value
