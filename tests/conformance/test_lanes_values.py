"""Values on lanes: every one that a lane may carry arrives as it was, every other is refused where it was emitted."""

from __future__ import annotations

import asyncio
import datetime
import enum
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lanemesh import (
    Answer,
    Audio,
    Document,
    Envelope,
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
from lanemesh.faults import ValueRefused
from lanemesh.items import LaneType

from repeats import times
from rigs import lane_acts as acts
from rigs.lanes import Rig, Wire

pytestmark = pytest.mark.timeout(90)

MIB = 1024 * 1024

TEXTS = st.text(max_size=30)
COUNTS = st.integers(0, 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
EMBEDDINGS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=4)
DOCUMENTS = st.builds(
    Document,
    content=TEXTS,
    id=TEXTS,
    embedding=EMBEDDINGS,
    score=st.none() | FINITE,
    source=TEXTS,
    chunk_index=st.none() | COUNTS,
    metadata=OBJECTS,
    file=st.none() | st.builds(Media, mime_type=TEXTS, content=st.binary(max_size=100)),
)
CALLS = st.builds(ToolCall, id=TEXTS, name=TEXTS, arguments=TEXTS)
MESSAGES = st.builds(
    Message,
    role=TEXTS,
    content=TEXTS,
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    tool_call_id=TEXTS,
)


def media(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Media with content, with a URI, and with neither."""
    sizes = st.integers(0, 2**32 - 1)
    rest = {
        "timestamp": st.none() | FINITE,
        "width": sizes,
        "height": sizes,
        "rate": FINITE,
        "channels": sizes,
    }
    return st.builds(kind, mime_type=TEXTS, content=st.binary(max_size=100), **rest) | st.builds(
        kind, mime_type=TEXTS, uri=TEXTS, **rest
    )


def tables(columns: tuple[str, ...]) -> st.SearchStrategy[Table]:
    """Tables with these columns."""
    rows = st.lists(st.tuples(*[JSON for _ in columns]), max_size=4)
    return st.builds(Table, columns=st.just(columns), rows=rows.map(tuple))


ANY: dict[LaneType, st.SearchStrategy[Any]] = {
    LaneType.TEXT: st.text(),
    LaneType.QUESTIONS: st.builds(
        Question,
        text=TEXTS,
        instructions=TEXTS,
        history=st.lists(MESSAGES, max_size=2).map(tuple),
        examples=st.lists(st.builds(Example, question=TEXTS, answer=TEXTS), max_size=2).map(tuple),
        documents=st.lists(DOCUMENTS, max_size=2).map(tuple),
        schema=st.none() | OBJECTS,
        embedding=EMBEDDINGS,
    ),
    LaneType.ANSWERS: st.builds(
        Answer,
        text=TEXTS,
        data=JSON,
        finish_reason=TEXTS,
        usage=st.none() | st.builds(Usage, prompt_tokens=COUNTS, completion_tokens=COUNTS),
    ),
    LaneType.DOCUMENTS: DOCUMENTS,
    LaneType.TABLE: st.lists(TEXTS, max_size=3).map(tuple).flatmap(tables),
    LaneType.TAGS: OBJECTS.map(Tags),
    LaneType.IMAGE: media(Image),
    LaneType.AUDIO: media(Audio),
    LaneType.VIDEO: media(Video),
    LaneType.DATA: JSON,
}


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types throughout: 1 is neither 1.0 nor True, 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@pytest.mark.many
@pytest.mark.conformance("LANE-12")
@pytest.mark.parametrize("lane_type", list(LaneType), ids=lambda lane_type: lane_type.value)
async def test_every_value_arrives_as_it_was(lanes: Rig, lane_type: LaneType) -> None:
    loop = asyncio.get_running_loop()
    async with lanes.run(Wire(lane_type=lane_type)) as run:

        async def pass_through(value: Any) -> Any:
            await run.producer.act(acts.emit, value)
            (received,) = await run.consumer.act(acts.take, 1)
            return received

        @settings(max_examples=times(60, 15), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(value=ANY[lane_type])
        def examples(value: Any) -> None:
            received = asyncio.run_coroutine_threadsafe(pass_through(value), loop).result(20)
            assert same(received, value), (value, received)

        await asyncio.to_thread(examples)


EDGES: list[Any] = [
    pytest.param(LaneType.TEXT, "", id="no text"),
    pytest.param(LaneType.TEXT, "\0", id="a zero"),
    pytest.param(LaneType.TEXT, "x" * (15 * MIB), id="15 MiB of text"),
    pytest.param(LaneType.TEXT, "x" * (16 * MIB - 64 * 1024 - 16), id="as much text as fits"),
    pytest.param(LaneType.TEXT, "\N{PILE OF POO}" * (3 * MIB), id="12 MiB of pictures"),
    pytest.param(LaneType.DATA, 2**63 - 1, id="largest integer"),
    pytest.param(LaneType.DATA, -(2**63), id="smallest integer"),
    pytest.param(LaneType.DATA, 3.0, id="a float that is whole"),
    pytest.param(LaneType.DATA, [1.7976931348623157e308, 5e-324, -0.0], id="extreme floats"),
    pytest.param(LaneType.DATA, None, id="null"),
    pytest.param(LaneType.DATA, {}, id="empty object"),
    pytest.param(LaneType.DATA, {"": [[], {}]}, id="empty everything"),
    pytest.param(LaneType.DATA, "\0" * (2 * MIB), id="12 MiB of escapes"),
    pytest.param(LaneType.DATA, [0.5] * 100_000, id="many numbers"),
    pytest.param(LaneType.TAGS, Tags(), id="no tags"),
    pytest.param(LaneType.TABLE, Table(()), id="no columns"),
    pytest.param(LaneType.TABLE, Table(("a",)), id="no rows"),
    pytest.param(LaneType.TABLE, Table((), ((), ())), id="empty rows"),
    pytest.param(LaneType.ANSWERS, Answer(), id="empty answer"),
    pytest.param(LaneType.ANSWERS, Answer(usage=Usage(0, 0)), id="no usage is usage"),
    pytest.param(LaneType.ANSWERS, Answer(usage=Usage(0, 0, 0.0)), id="a price of nothing"),
    pytest.param(LaneType.ANSWERS, Answer(usage=Usage(1, 2, 0.0042)), id="a price"),
    pytest.param(LaneType.ANSWERS, Answer(data=False), id="false"),
    pytest.param(LaneType.QUESTIONS, Question(""), id="empty question"),
    pytest.param(LaneType.QUESTIONS, Question("", schema={}), id="empty schema"),
    pytest.param(
        LaneType.QUESTIONS,
        Question(
            "what is it?",
            history=(Message("user", "and this?", images=(Image("image/png", uri="https://example.com/a.png"),)),),
            images=(Image("image/png", b"\x89PNG", width=2, height=3), Image("image/jpeg", b"\xff\xd8")),
        ),
        id="images of a question and of a turn",
    ),
    pytest.param(LaneType.QUESTIONS, Question("", history=(Message("", ""),)), id="empty turn"),
    pytest.param(
        LaneType.QUESTIONS,
        Question("", tools=(ToolSpec("look", "Looks.", {"type": "object", "required": ["a"]}), ToolSpec("wait"))),
        id="tools of a question",
    ),
    pytest.param(
        LaneType.ANSWERS, Answer(tool_calls=(ToolCall("1", "look", "{"), ToolCall("2", "wait", ""))), id="tool calls"
    ),
    pytest.param(LaneType.DOCUMENTS, Document(""), id="empty document"),
    pytest.param(LaneType.DOCUMENTS, Document("", score=0.0, chunk_index=0), id="zeros"),
    pytest.param(LaneType.DOCUMENTS, Document("", file=Media("")), id="an empty file"),
    pytest.param(LaneType.DOCUMENTS, Document("", file=Media("application/pdf", b"1" * MIB)), id="a file of 1 MiB"),
    pytest.param(
        LaneType.DOCUMENTS,
        Document("text", source="a.pdf", file=Media("application/pdf", bytes(range(256)) * 4096 * 20 + b"!")),
        id="a file of 20 MiB and a byte",
    ),
    pytest.param(
        LaneType.DOCUMENTS,
        Document("x" * (14 * MIB), file=Media("application/pdf", b"1" * (MIB + 1))),
        id="a large text with a large file",
    ),
    pytest.param(LaneType.IMAGE, Image(""), id="no image"),
    pytest.param(LaneType.AUDIO, Audio("audio/wav", timestamp=0.0), id="0 bytes"),
    pytest.param(LaneType.VIDEO, Video("video/raw", bytes(range(256)) * 4096), id="1 MiB"),
    pytest.param(LaneType.VIDEO, Video("video/raw", bytes(range(256)) * 4096 + b"!"), id="1 MiB and a byte"),
    pytest.param(LaneType.VIDEO, Video("video/raw", bytes(range(256)) * 8192), id="2 MiB"),
    pytest.param(LaneType.VIDEO, Video("video/raw", bytes(range(256)) * 4096 * 40), id="40 MiB"),
    pytest.param(LaneType.IMAGE, Image("", uri="data:" + "x" * (10 * MIB)), id="a URI of 10 MiB"),
]


@pytest.mark.conformance("LANE-12")
@pytest.mark.parametrize(("lane_type", "value"), EDGES)
async def test_values_at_the_edge_of_what_is_allowed(lanes: Rig, lane_type: LaneType, value: Any) -> None:
    async with lanes.run(Wire(lane_type=lane_type)) as run:
        received = run.consumer.begin(acts.take, 2)
        for _ in range(2):
            await run.producer.act(acts.emit, value)
        for arrived in await received:
            assert same(arrived, value)


class Colour(str, enum.Enum):  # noqa: UP042, since StrEnum's `str()` is its value
    """A text that is more than that."""

    RED = "red"


class Number(enum.IntEnum):
    """An integer that is more than that."""

    ONE = 1


@pytest.mark.conformance("LANE-12")
@pytest.mark.parametrize(
    ("lane_type", "value", "plain"),
    [
        pytest.param(LaneType.TEXT, Colour.RED, "red", id="text"),
        pytest.param(
            LaneType.DATA,
            {Colour.RED: [Colour.RED, Number.ONE], "t": (1, 2)},
            {"red": ["red", 1], "t": [1, 2]},
            id="data",
        ),
        pytest.param(LaneType.TAGS, {"colour": Colour.RED}, Tags(colour="red"), id="tags"),
        pytest.param(LaneType.DOCUMENTS, Document(Colour.RED), Document("red"), id="document"),
    ],
)
async def test_subclasses_arrive_as_what_they_stand_for(
    lanes: Rig, lane_type: LaneType, value: Any, plain: Any
) -> None:
    async with lanes.run(Wire(lane_type=lane_type)) as run:
        await run.producer.act(acts.emit, value)
        (received,) = await run.consumer.act(acts.take, 1)
        assert same(received, plain)


@pytest.mark.conformance("LANE-12")
async def test_embeddings_are_32_bits_wherever_the_consumer_is(lanes: Rig) -> None:
    document = Document("d", embedding=(0.1, 1 / 3))
    async with lanes.run(Wire(lane_type=LaneType.DOCUMENTS)) as run:
        await run.producer.act(acts.emit, document)
        (received,) = await run.consumer.act(acts.take, 1)
        assert same(received, document)
        assert received.embedding == pytest.approx((0.1, 1 / 3), rel=1e-7)


def endless() -> list[Any]:
    """A list that holds itself."""
    inner: list[Any] = []
    inner.append(inner)
    return inner


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


REFUSED: list[Any] = [
    pytest.param(LaneType.TEXT, lambda: 7, "wrong-type", "expected str, got int", id="text: int"),
    pytest.param(LaneType.TEXT, lambda: b"x", "wrong-type", "expected str, got bytes", id="text: bytes"),
    pytest.param(LaneType.TEXT, lambda: None, "wrong-type", "expected str, got NoneType", id="text: None"),
    pytest.param(LaneType.TEXT, lambda: "\ud800", "wrong-value", "not valid Unicode", id="text: half a character"),
    pytest.param(LaneType.TEXT, lambda: "x" * (16 * MIB), "wrong-value", "16 MiB", id="text: 16 MiB"),
    pytest.param(LaneType.TEXT, lambda: "é" * (9 * MIB), "wrong-value", "16 MiB", id="text: 18 MiB encoded"),
    pytest.param(LaneType.DATA, lambda: math.nan, "wrong-value", "nan is not a JSON number", id="data: NaN"),
    pytest.param(LaneType.DATA, lambda: [{"a": math.inf}], "wrong-value", "inf is not a JSON", id="data: infinity"),
    pytest.param(LaneType.DATA, lambda: 2**63, "wrong-value", "64 bits", id="data: 2^63"),
    pytest.param(LaneType.DATA, lambda: [-(2**63) - 1], "wrong-value", "64 bits", id="data: below -2^63"),
    pytest.param(LaneType.DATA, lambda: 10**10_000, "wrong-value", "64 bits", id="data: 10,000 digits"),
    pytest.param(LaneType.DATA, lambda: {1: 2}, "wrong-type", "key 1 of an object is not a string", id="data: key"),
    pytest.param(LaneType.DATA, lambda: {"\ud800": 2}, "wrong-value", "not valid Unicode", id="data: half a key"),
    pytest.param(LaneType.DATA, lambda: {1, 2}, "wrong-type", "set is not a JSON value", id="data: set"),
    pytest.param(LaneType.DATA, lambda: b"x", "wrong-type", "bytes is not a JSON value", id="data: bytes"),
    pytest.param(LaneType.DATA, lambda: datetime.date(2020, 1, 1), "wrong-type", "date is not a JSON", id="data: date"),
    pytest.param(LaneType.DATA, lambda: nested(101), "wrong-value", "deeper than 100", id="data: deep"),
    pytest.param(LaneType.DATA, endless, "wrong-value", "deeper than 100", id="data: endless"),
    pytest.param(LaneType.DATA, lambda: "\0" * (3 * MIB), "wrong-value", "16 MiB", id="data: 18 MiB of escapes"),
    pytest.param(LaneType.DATA, lambda: [0.5, "x" * (17 * MIB)], "wrong-value", "16 MiB", id="data: mixed list"),
    pytest.param(LaneType.DATA, lambda: [math.pi] * MIB, "wrong-value", "16 MiB", id="data: many numbers"),
    pytest.param(LaneType.TAGS, list, "wrong-type", "expected Tags, got list", id="tags: list"),
    pytest.param(LaneType.TAGS, lambda: {"a": math.nan}, "wrong-value", "nan is not a JSON", id="tags: NaN"),
    pytest.param(LaneType.TAGS, lambda: {"a": object()}, "wrong-type", "object is not a JSON", id="tags: object"),
    pytest.param(LaneType.ANSWERS, lambda: "text", "wrong-type", "expected Answer, got str", id="answers: str"),
    pytest.param(
        LaneType.QUESTIONS,
        lambda: Question("q", images=(Image("image/png", bytes(17 * MIB)),)),
        "wrong-value",
        "16 MiB",
        id="questions: images",
    ),
    pytest.param(LaneType.ANSWERS, lambda: Answer("x" * (16 * MIB)), "wrong-value", "16 MiB", id="answers: 16 MiB"),
    pytest.param(LaneType.ANSWERS, lambda: Answer(data="\0" * (3 * MIB)), "wrong-value", "16 MiB", id="answers: data"),
    pytest.param(LaneType.QUESTIONS, lambda: Answer("x"), "wrong-type", "expected Question", id="questions: Answer"),
    pytest.param(
        LaneType.QUESTIONS,
        lambda: Question("q", documents=tuple(Document("d" * MIB) for _ in range(17))),
        "wrong-value",
        "16 MiB",
        id="questions: 17 documents",
    ),
    pytest.param(LaneType.DOCUMENTS, lambda: {"content": "x"}, "wrong-type", "got dict", id="documents: dict"),
    pytest.param(
        LaneType.DOCUMENTS, lambda: Document("d", embedding=(0.5,) * (5 * MIB)), "wrong-value", "16 MiB", id="embedding"
    ),
    pytest.param(
        LaneType.DOCUMENTS,
        lambda: Document("", file=Media("a", bytes(256 * MIB + 1))),
        "wrong-value",
        "256 MiB",
        id="documents: file",
    ),
    pytest.param(
        LaneType.DOCUMENTS,
        lambda: Document("\1" * (15 * MIB), file=Media("a", bytes(MIB))),
        "wrong-value",
        "16 MiB",
        id="documents: text and file",
    ),
    pytest.param(LaneType.TABLE, lambda: [["a"]], "wrong-type", "expected Table, got list", id="table: list"),
    pytest.param(LaneType.IMAGE, lambda: b"x", "wrong-type", "expected Image, got bytes", id="image: bytes"),
    pytest.param(LaneType.IMAGE, lambda: Audio("a", b"x"), "wrong-type", "got Audio", id="image: Audio"),
    pytest.param(LaneType.VIDEO, lambda: Video("v", bytes(256 * MIB + 1)), "wrong-value", "256 MiB", id="video: size"),
    pytest.param(LaneType.IMAGE, lambda: Image("i", uri="x" * (17 * MIB)), "wrong-value", "16 MiB", id="image: URI"),
]


@pytest.mark.conformance("LANE-12")
@pytest.mark.parametrize(("lane_type", "make", "reason", "why"), REFUSED)
async def test_what_a_lane_may_not_carry_is_refused_at_emit(
    lanes: Rig, lane_type: LaneType, make: Callable[[], Any], reason: str, why: str
) -> None:
    async with lanes.run(Wire(lane_type=lane_type)) as run:
        with pytest.raises(ValueRefused) as raised:
            await run.producer.act(acts.emit, make())
        fault = raised.value.fault
        assert fault.reason == reason
        assert fault.message.startswith(f"producer.out emitted a value that a lane of type {lane_type.value}")
        assert why in fault.message
        await run.producer.act(acts.leave)  # nothing of it has left
        assert await run.consumer.act(acts.take_until_fault) == ([], None)
        await run.consumer.act(acts.leave)
        assert await run.finished() == []


@pytest.mark.conformance("LANE-12")
@pytest.mark.parametrize("text", ["plain", "é"])
@pytest.mark.parametrize(
    "metadata", [{"a": 1}, {1: "a"}, {"a": "\ud800"}, {"\ud800": "a"}, {"a": "x" * 20_000}, {"a": None}]
)
async def test_metadata_that_cannot_travel_is_refused_at_emit(lanes: Rig, text: str, metadata: Any) -> None:
    async with lanes.run() as run:
        with pytest.raises(ValueRefused, match=r"^producer\.out emitted"):
            await run.producer.act(acts.emit, text, "out", Envelope(metadata=metadata))


@pytest.mark.conformance("LANE-12", "LANE-17")
async def test_metadata_arrives_and_is_the_consumers_own(lanes: Rig) -> None:
    metadata = {"a": "b"}
    async with lanes.run(Wire(), Wire(consumer="consumer_b")) as run:
        await run.producer.act(acts.emit, "text", "out", Envelope(metadata=metadata))
        metadata["a"] = "changed"
        for hand in (run.consumer, run.hand("consumer_b")):
            (item,) = await hand.act(acts.take_items, 1)
            assert item.value == "text"
            assert dict(item.envelope.metadata) == {"a": "b"}


WRONG: Any = ["of another type"]


@pytest.mark.conformance("LANE-12")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Usage(-1, 0), id="negative count"),
        pytest.param(lambda: Usage(2**63, 0), id="huge count"),
        pytest.param(lambda: Usage(WRONG, 0), id="no count"),
        pytest.param(lambda: Document("d", chunk_index=-1), id="negative place"),
        pytest.param(lambda: Document("d", score=math.nan), id="NaN score"),
        pytest.param(lambda: Document("d", embedding=(math.nan,)), id="NaN in an embedding"),
        pytest.param(lambda: Document("d", embedding=(1e300,)), id="beyond 32 bits"),
        pytest.param(lambda: Document("d", metadata=WRONG), id="metadata no object"),
        pytest.param(lambda: Document(WRONG), id="no text"),
        pytest.param(lambda: Document("", file=WRONG), id="no file"),
        pytest.param(lambda: Question("q", schema=WRONG), id="schema no object"),
        pytest.param(lambda: Question("q", history=WRONG), id="no turn"),
        pytest.param(lambda: Table(("a",), ((1, 2),)), id="ragged"),
        pytest.param(lambda: Table(("a",), ((math.nan,),)), id="NaN in a cell"),
        pytest.param(lambda: Answer(data=math.inf), id="infinite data"),
        pytest.param(lambda: Image("i", width=-1), id="negative width"),
        pytest.param(lambda: Image("i", width=2**32), id="huge width"),
        pytest.param(lambda: Audio("a", rate=math.nan), id="NaN rate"),
        pytest.param(lambda: Video("v", timestamp=math.inf), id="infinite time"),
        pytest.param(lambda: Image("i" * 1001), id="long type"),
        pytest.param(lambda: Image("i", b"x", uri="y"), id="content and URI"),
    ],
)
def test_values_that_no_wire_can_carry_cannot_be_made(make: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        make()
