"""Values as JSON: written and read again they are the same."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh.codec import encode, make_item
from lanemesh.items import LaneType
from lanemesh.values import (
    Answer,
    Audio,
    Document,
    Example,
    Image,
    Media,
    Message,
    Question,
    Table,
    Tags,
    ToolCall,
    ToolSpec,
    Usage,
    Video,
)
from lanemesh_orchestrator.item_json import value_json
from lanemesh_orchestrator.value_json import value_from_json
from pydantic import ValidationError

IMAGE = Image("image/png", b"\x00\xff", width=3, height=4)
VALUES = [
    (LaneType.TEXT, "é"),
    (LaneType.TEXT, ""),
    (
        LaneType.QUESTIONS,
        Question(
            "why?",
            instructions="briefly",
            history=(
                Message("user", "hello", images=(IMAGE,)),
                Message("assistant", "", (ToolCall("c1", "add", '{"a": 1}'),)),
                Message("tool", "3", (), "c1"),
            ),
            examples=(Example("a", "b"),),
            documents=(Document("text", id="d", score=0.5),),
            schema={"type": "object"},
            embedding=(0.5, 1.0),
            images=(IMAGE,),
            tools=(ToolSpec("look", "Looks.", {"type": "object"}), ToolSpec("wait")),
        ),
    ),
    (LaneType.ANSWERS, Answer("", None, "tool_calls", None, (ToolCall("c1", "look", "{"), ToolCall("c2", "wait", "")))),
    (LaneType.ANSWERS, Answer("text", {"a": [1, None]}, "stop", Usage(1, 2, 0.5))),
    (LaneType.ANSWERS, Answer("")),
    (LaneType.DOCUMENTS, Document("c", "i", (0.5,), 0.25, "s", 3, {"k": True})),
    (LaneType.DOCUMENTS, Document("", source="a.pdf", file=Media("application/pdf", b"%PDF"))),
    (LaneType.TABLE, Table(("a", "b"), ((1, "x"), (None, [1.5])))),
    (LaneType.TAGS, Tags({"a": {"b": 1}})),
    (LaneType.IMAGE, IMAGE),
    (LaneType.IMAGE, Image("image/png", uri="http://example/x.png")),
    (LaneType.AUDIO, Audio("audio/wav", b"abc", timestamp=0.0, rate=16_000.0, channels=2)),
    (LaneType.VIDEO, Video("video/mp4", b"abc", timestamp=1.5)),
    (LaneType.DATA, {"a": [1, 2.5, None, True, "x"]}),
    (LaneType.DATA, None),
    (LaneType.DATA, "text"),
]


@pytest.mark.parametrize(("lane", "value"), VALUES)
def test_a_value_is_the_same_after_its_way_through_json(lane: LaneType, value: Any) -> None:
    written = value_json(encode(lane, make_item(lane, value)))

    read = make_item(lane, value_from_json(lane, written)).value

    assert read == make_item(lane, value).value
    assert type(read) is type(make_item(lane, value).value)


def test_every_lane_is_tried() -> None:
    assert {lane for lane, _ in VALUES} == set(LaneType)


@pytest.mark.parametrize("lane", [lane for lane in LaneType if lane is not LaneType.DATA])
@pytest.mark.parametrize("value", [None, 1, [], {"unknown": 1}, True])
def test_other_types_and_unknown_fields_are_errors(lane: LaneType, value: Any) -> None:
    if lane is LaneType.TAGS and value == {"unknown": 1}:
        assert value_from_json(lane, value) == Tags(value)
        return
    with pytest.raises(ValidationError):
        value_from_json(lane, value)


@pytest.mark.parametrize(
    "media", [{"content": "????"}, {"content": "YQ"}, {"content": "YQ==", "bytes": 2}, {"content": "YQ==", "uri": "x"}]
)
def test_media_that_contradict_themselves_are_errors(media: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"base64|bytes|URI"):
        value_from_json(LaneType.IMAGE, {"mime_type": "image/png", **media})


def test_a_document_may_leave_its_text_out_if_it_has_its_file() -> None:
    file = {"mime_type": "text/csv", "content": "YSxi"}

    assert value_from_json(LaneType.DOCUMENTS, {"file": file}) == Document("", file=Media("text/csv", b"a,b"))
    with pytest.raises(ValidationError, match='has "content", or a "file"'):
        value_from_json(LaneType.DOCUMENTS, {"source": "a.csv"})
