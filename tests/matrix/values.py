"""The values of the matrix of languages, as messages: every field that a value may have is set in one of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from lanemesh.v1 import lane_pb2

SIZE = 3 * 1024 * 1024 + 7
"""Bytes of a picture: it travels in several chunks."""
GREATEST = 2**63 - 1
"""The greatest integer of JSON on a lane."""

_CONTENT = (bytes(range(251)) * (SIZE // 251 + 1))[:SIZE]


def text(value: str) -> lane_pb2.Item:
    """A text."""
    return lane_pb2.Item(text=value)


TEXTS = [
    text(value)
    for value in ("", "hello", "äöü ß €", "日本語", "🎉 👩‍👩‍👧", 'quotes " and \\ and \n lines', "x" * 100_000)
]

IMAGE = lane_pb2.Item(
    image=lane_pb2.Media(mime_type="image/png", content=_CONTENT, width=640, height=480, timestamp_seconds=0)
)
AUDIO = lane_pb2.Item(
    audio=lane_pb2.Media(mime_type="audio/wav", content=bytes(1001), timestamp_seconds=1.25, rate=44100, channels=2)
)
VIDEO = lane_pb2.Item(
    video=lane_pb2.Media(mime_type="video/mp4", uri="https://example.org/a.mp4", width=1920, height=1080, rate=29.97)
)
MEDIA = [IMAGE, AUDIO, VIDEO]

_CALL = lane_pb2.ToolCall(id="call-1", name="weather", arguments_json='{"city":"Oslo"}')
_PICTURE = lane_pb2.Media(mime_type="image/jpeg", content=bytes(range(256)), width=16, height=16)
_DOCUMENT = lane_pb2.Document(
    content="Oslo is in Norway.",
    id="doc-1",
    embedding=[0.5, -0.25, 1.0],
    score=0.0,
    source="file:///oslo.txt",
    chunk_index=0,
    metadata_json=json.dumps({"page": 3, "tags": ["a", None, True], "big": GREATEST}, separators=(",", ":")),
)

QUESTION = lane_pb2.Item(
    question=lane_pb2.Question(
        text="What is the weather in Oslo? 🌧",
        instructions="Answer briefly.",
        history=[
            lane_pb2.Message(role="system", content="You know the weather."),
            lane_pb2.Message(role="user", content="Hello", images=[_PICTURE]),
            lane_pb2.Message(role="assistant", content="", tool_calls=[_CALL]),
            lane_pb2.Message(role="tool", content='{"rain":true}', tool_call_id="call-1"),
        ],
        examples=[lane_pb2.Example(question="In Bergen?", answer="Rain.")],
        documents=[_DOCUMENT],
        schema_json='{"type":"object","properties":{"rain":{"type":"boolean"}},"required":["rain"]}',
        embedding=[0.125, 2.0],
        images=[_PICTURE],
        tools=[
            lane_pb2.ToolSpec(
                name="weather",
                description="The weather of a city.",
                parameters_json='{"type":"object","properties":{"city":{"type":"string"}}}',
            )
        ],
    )
)

ANSWERS = [
    lane_pb2.Item(answer=lane_pb2.Answer(text="It rains")),
    lane_pb2.Item(answer=lane_pb2.Answer(text=" in Oslo. ☔", tool_calls=[_CALL])),
    lane_pb2.Item(answer=lane_pb2.Answer(data_json=json.dumps({"rain": True, "big": GREATEST}, separators=(",", ":")))),
    lane_pb2.Item(
        answer=lane_pb2.Answer(
            finish_reason="stop",
            usage=lane_pb2.Usage(prompt_tokens=2**60, completion_tokens=7, cost=0.0, tool_calls=1),
        )
    ),
]

_FILE = lane_pb2.Document(id="doc-2", file=lane_pb2.Media(mime_type="application/pdf", content=_CONTENT))
TABLE = lane_pb2.Item(
    table=lane_pb2.Table(
        columns=["name", "value"],
        rows=[lane_pb2.TableRow(cells_json=['"ä"', "1.5"]), lane_pb2.TableRow(cells_json=["null", str(GREATEST)])],
    )
)
TAGS = lane_pb2.Item(tags_json='{"a":1,"b":{"c":[true,null]}}')
DATA = [lane_pb2.Item(data_json=value) for value in ("null", "0", str(-(2**63)), '[1.5,{"a":"\u00e4"}]', '""')]

EVERY_LANE = [
    *TEXTS,
    QUESTION,
    *ANSWERS,
    lane_pb2.Item(document=_DOCUMENT),
    lane_pb2.Item(document=_FILE),
    TABLE,
    TAGS,
    *MEDIA,
    *DATA,
]


def fields(items: Iterable[lane_pb2.Item]) -> list[dict[str, Any]]:
    """Each item field by field: JSON as the value that it stands for, and without the group, which the nodes between may set."""
    return [_fields(item) for item in items]


def _fields(item: lane_pb2.Item) -> dict[str, Any]:
    kept = lane_pb2.Item()
    kept.CopyFrom(item)
    kept.ClearField("group")
    kept.ClearField("lineage")
    kept.ClearField("created_at")
    found: dict[str, Any] = json_format.MessageToDict(kept, preserving_proto_field_name=True)
    parsed: dict[str, Any] = _parsed(found)
    return parsed


def _parsed(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _parsed(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_parsed(one, name) for one in value]
    return json.loads(value) if name.endswith("_json") and isinstance(value, str) else value


def lanes_of(items: Iterable[Message]) -> dict[str, list[Any]]:
    """The items by lane type, each field by field: lanes keep their order, and have none among each other."""
    found: dict[str, list[Any]] = {}
    for item in items:
        assert isinstance(item, lane_pb2.Item)
        found.setdefault(str(item.WhichOneof("payload")), []).append(_fields(item))
    return found
