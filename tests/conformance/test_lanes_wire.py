"""Lanes over gRPC, frame by frame: what goes over the wire, and what happens when what comes is not what should."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from lanemesh import Answer, Document, Image, Question
from lanemesh._grpc.connections import ConnectionPool
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import LaneType
from lanemesh.lanes.transport.frames import MAX_FRAME_BYTES, MAX_FRAME_ITEMS
from lanemesh.lanes.transport.grpc_sender import GrpcSender
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.v1 import lane_pb2

from rigs import lane_acts as acts
from rigs.lane_frames import RawLane, Recorder, chunk, end, opening, payload, raw_channel, serving, texts
from rigs.lanes import Rig, Running, Wire, edge_of, standstill

pytestmark = pytest.mark.timeout(20)

MIB = 1024 * 1024


class Target:
    """A run in a real node server whose consumer waits for lanes made by hand, and one that works beside them."""

    def __init__(self, run: Running, channel: grpc.aio.Channel) -> None:
        self.run = run
        self._channel = channel

    def lane(self) -> RawLane:
        """A call that has sent nothing yet."""
        return RawLane(self._channel)

    def opening(self, **fields: Any) -> lane_pb2.ExchangeRequest:
        """The frame that opens the consumer's lane."""
        return opening(self.run.id, self.run.wires[0].id, self.run.wires[0].lane_type, **fields)

    async def opened(self) -> RawLane:
        """The consumer's lane, accepted."""
        lane = self.lane()
        await lane.send(self.opening())
        assert await lane.accepted() == self.run.wires[0].limit_items
        return lane

    async def seen(self) -> tuple[list[Any], Fault | None]:
        """What the consumer sees of its lane until it ends."""
        seen: tuple[list[Any], Fault | None] = await self.run.consumer.act(acts.take_until_fault)
        return seen

    async def sibling_works(self) -> None:
        """A lane of the same run over the same server still carries items."""
        received = self.run.hand("consumer_b").begin(acts.take, 3)
        await self.run.hand("producer_b").act(acts.emit_numbers, 3)
        assert await received == ["0", "1", "2"]


@asynccontextmanager
async def target_of(between: Rig, **wire: Any) -> AsyncIterator[Target]:
    """A run whose first lane is ours to open."""
    assert between.there is not None
    ours = Wire(producer="by_hand", **wire)
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(
            between.run(ours, Wire(producer="producer_b", consumer="consumer_b"), by_hand="by_hand")
        )
        channel = await stack.enter_async_context(raw_channel(between.there.address))
        yield Target(run, channel)


@pytest.fixture
async def target(between: Rig) -> AsyncIterator[Target]:
    async with target_of(between, limit_items=10) as made:
        yield made


# LANE-06


@pytest.mark.conformance("LANE-06")
async def test_a_half_close_without_end_is_data_loss(target: Target) -> None:
    lane = await target.opened()
    await lane.send(texts("a", "b"))
    await lane.half_close()
    taken, fault = await target.seen()
    assert taken == ["a", "b"]
    assert fault is not None
    assert (fault.code, fault.secondary) == (Code.DATA_LOSS, True)
    assert target.run.wires[0].id in fault.message
    await target.sibling_works()


@pytest.mark.conformance("LANE-06")
@pytest.mark.parametrize("count", [0, 1, 3, 2**63])
async def test_an_end_with_a_wrong_count_is_data_loss(target: Target, count: int) -> None:
    lane = await target.opened()
    await lane.send(texts("a", "b"), end(count))
    await lane.half_close()
    taken, fault = await target.seen()
    assert taken == ["a", "b"]
    assert fault is not None
    assert fault.code is Code.DATA_LOSS
    assert f"2 of {count} items" in fault.message
    await target.sibling_works()


@pytest.mark.conformance("LANE-06")
async def test_a_broken_call_is_unavailable(target: Target) -> None:
    lane = await target.opened()
    await lane.send(texts("a"))
    await target.run.consumer.look(acts.arrived, 1)
    lane.call.cancel()
    taken, fault = await target.seen()
    assert taken == ["a"]
    assert fault is not None
    assert (fault.code, fault.secondary) == (Code.UNAVAILABLE, True)
    assert target.run.wires[0].id in fault.message


@pytest.mark.conformance("LANE-06")
async def test_a_closed_connection_is_unavailable(between: Rig) -> None:
    async with target_of(between) as target:
        async with raw_channel(between.there.address if between.there else "") as channel:
            lane = RawLane(channel)
            await lane.send(target.opening(), texts("a"))
            await lane.accepted()
            await target.run.consumer.look(acts.arrived, 1)
        taken, fault = await target.seen()
        assert taken == ["a"]
        assert fault is not None
        assert fault.code is Code.UNAVAILABLE


@pytest.mark.conformance("LANE-06")
async def test_100_lanes_of_one_broken_connection_are_all_unavailable(between: Rig) -> None:
    assert between.there is not None
    wires = [Wire(producer=f"by_hand_{number}", consumer=f"consumer_{number}") for number in range(100)]
    async with between.run(*wires, by_hand="by_hand") as run:
        async with raw_channel(between.there.address) as channel:
            for wire in wires:
                lane = RawLane(channel)
                await lane.send(opening(run.id, wire.id), texts("a"))
                await run.hand(wire.consumer).look(acts.arrived, 1)
        for wire in wires:
            taken, fault = await run.hand(wire.consumer).act(acts.take_until_fault)
            assert taken == ["a"]
            assert fault.code is Code.UNAVAILABLE


@pytest.mark.conformance("LANE-06")
@pytest.mark.parametrize("how", ["half-close", "cancel", "wrong count"])
async def test_a_broken_lane_of_a_run_that_is_being_cancelled_is_cancelled(target: Target, how: str) -> None:
    lane = await target.opened()
    await lane.send(texts("a"))
    await target.run.consumer.look(acts.arrived, 1)
    taking = target.run.consumer.begin(acts.take_though_cancelled)
    await standstill(target.run.consumer)
    await target.run.cancel("consumer")
    await target.run.consumer.look(acts.noted, "cancelled")
    if how == "cancel":
        lane.call.cancel()
    elif how == "half-close":
        await lane.half_close()
    else:
        await lane.send(end(7))
        await lane.half_close()
    fault = await target.run.consumer.look(acts.noted, "fault")
    assert fault.code is Code.CANCELLED
    await asyncio.wait([taking])
    assert taking.exception() is not None


@pytest.mark.conformance("LANE-06")
@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_a_lane_that_breaks_after_the_right_end_is_complete(between: Rig, how: str) -> None:
    async with target_of(between) as target:
        async with raw_channel(between.there.address if between.there else "") as channel:
            lane = RawLane(channel)
            await lane.send(target.opening(), texts("a", "b"), end(2))
            await target.run.consumer.look(acts.ended)
            if how == "cancel":
                lane.call.cancel()
        assert await target.seen() == (["a", "b"], None)


@pytest.mark.conformance("LANE-06", "LANE-10")
async def test_items_that_a_cancel_dropped_are_not_behind_a_clean_end(between: Rig) -> None:
    text = "x" * 300_000
    async with between.run() as run:
        emitting = run.producer.begin(acts.emit_copies, text, 100)
        await run.consumer.look(acts.arrived, 4)
        await standstill(run.producer, run.consumer)
        fits = await run.producer.look(acts.emitted) - 1
    await asyncio.wait([emitting])
    assert emitting.exception() is not None
    async with between.run() as run:
        await run.producer.act(acts.emit_copies, text, fits)
        await run.producer.act(acts.leave)
        await run.consumer.look(acts.arrived, 4)
        await standstill(run.consumer)
        await run.cancel("producer")
        taken, fault = await run.consumer.act(acts.take_until_fault)
        assert fault is not None or len(taken) == fits
        assert len(taken) < fits
        await run.consumer.act(acts.leave)
        await run.finished()


# LANE-13


CROWDS: list[Any] = [
    pytest.param(LaneType.TEXT, lambda chance: "x" * chance.choice([0, 1, 5]), id="tokens"),
    pytest.param(LaneType.TEXT, lambda chance: "é\0" * chance.choice([0, 3, 700, 40_000, 140_000]), id="texts"),
    pytest.param(LaneType.DATA, lambda chance: ["\0\x1f" * chance.choice([1, 100, 5_000])], id="escapes"),
    pytest.param(LaneType.DATA, lambda chance: [-1.7976931348623157e308] * chance.choice([1, 2_000]), id="numbers"),
    pytest.param(LaneType.ANSWERS, lambda chance: Answer("tok" * chance.choice([1, 500])), id="answers"),
    pytest.param(
        LaneType.DOCUMENTS, lambda chance: Document("d", embedding=(0.1,) * chance.choice([0, 1_536])), id="documents"
    ),
    pytest.param(LaneType.QUESTIONS, lambda chance: Question("q" * chance.choice([1, 200_000])), id="questions"),
    pytest.param(
        LaneType.IMAGE,
        lambda chance: Image("image/raw", bytes(chance.choice([0, 1, 1, 200, 9_000, 9_000, 300_000, MIB, MIB + 1]))),
        id="images",
    ),
]


@pytest.mark.conformance("LANE-13")
@pytest.mark.parametrize(("lane_type", "make"), CROWDS)
async def test_items_are_coalesced_and_frames_stay_within_their_bounds(
    lane_type: LaneType, make: Callable[[random.Random], Any]
) -> None:
    chance = random.Random(7)
    values = [make(chance) for _ in range(700)]
    recorder, pool = Recorder(), ConnectionPool()
    async with serving(recorder) as address:
        wire = Wire(lane_type=lane_type)
        sender = GrpcSender(edge_of(wire, address), "run", pool)
        await sender.open()
        outputs = Outputs("producer", {"out": OutputLanes("producer.out", lane_type, [sender])})
        for value in values:
            assert await outputs.emit("out", value)
        outputs.end()
        await outputs.closed()
        await pool.close()
    assert sender.fault is None
    frames = [(len(raw), lane_pb2.ExchangeRequest.FromString(raw)) for raw in recorder.frames]
    carrying = [(size, len(frame.items.items)) for size, frame in frames if frame.WhichOneof("frame") == "items"]
    assert sum(items for _, items in carrying) == len(values) == frames[-1][1].end.item_count
    assert len(carrying) < len(values)
    assert all(items <= MAX_FRAME_ITEMS == 256 for _, items in carrying)
    assert all(size <= MAX_FRAME_BYTES == 256 * 1024 or items == 1 for size, items in carrying)
    assert max(items for _, items in carrying) > 1
    assert all(size <= MIB + 1024 for size, frame in frames if frame.WhichOneof("frame") == "chunk")


# LANE-15


REFUSALS: list[Any] = [
    pytest.param({"run_id": "nobody"}, grpc.StatusCode.NOT_FOUND, "unknown-run", id="run"),
    pytest.param({"run_id": ""}, grpc.StatusCode.NOT_FOUND, "unknown-run", id="no run"),
    pytest.param({"edge_id": "a.b>c.d"}, grpc.StatusCode.NOT_FOUND, "unknown-edge", id="edge"),
    pytest.param({"lane_type": LaneType.DATA.wire}, grpc.StatusCode.INVALID_ARGUMENT, "lane-mismatch", id="type"),
    pytest.param({"lane_type": 0}, grpc.StatusCode.INVALID_ARGUMENT, "lane-mismatch", id="no type"),
    pytest.param({"lane_type": 99}, grpc.StatusCode.INVALID_ARGUMENT, "lane-mismatch", id="type of the future"),
    pytest.param({"resume_from": 5}, grpc.StatusCode.FAILED_PRECONDITION, "no-resume", id="resuming"),
    pytest.param({"reopen": True}, grpc.StatusCode.FAILED_PRECONDITION, "not-detached", id="reopen"),
]


@pytest.mark.conformance("LANE-15")
@pytest.mark.parametrize(("fields", "code", "reason"), REFUSALS)
async def test_a_wrong_open_is_refused_with_its_reason(
    target: Target, fields: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    frame = target.opening()
    frame.open.MergeFrom(lane_pb2.LaneOpen(**fields))
    for name, value in fields.items():
        setattr(frame.open, name, value)
    refused = target.lane()
    await refused.send(frame)
    got, fault, message = await refused.status()
    assert got is code
    assert fault is not None
    assert fault.reason == reason
    assert frame.open.edge_id in message
    lane = await target.opened()  # nothing harmed: the right one is still taken
    await lane.send(texts("a"), end(1))
    await lane.half_close()
    assert await target.seen() == (["a"], None)
    await target.sibling_works()


@pytest.mark.conformance("LANE-15")
async def test_a_second_open_of_an_edge_is_refused_and_the_first_goes_on(target: Target) -> None:
    lane = await target.opened()
    second = target.lane()
    await second.send(target.opening())
    code, fault, _ = await second.status()
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert fault is not None
    assert fault.reason == "already-open"
    await lane.send(texts("a"), end(1))
    await lane.half_close()
    assert await target.seen() == (["a"], None)
    third = target.lane()  # nor is it taken once the first has ended
    await third.send(target.opening())
    assert (await third.status())[0] is grpc.StatusCode.ALREADY_EXISTS
    await target.sibling_works()


@pytest.mark.conformance("LANE-15")
async def test_a_rejected_producer_gets_the_reason(between: Rig) -> None:
    async with between.run() as run:
        assert between.there is not None
        pool = ConnectionPool()
        sender = GrpcSender(edge_of(Wire(), between.there.address), "nobody", pool)
        with pytest.raises(LaneFault) as raised:
            await sender.open()
        assert raised.value.fault.code is Code.NOT_FOUND
        assert run.wires[0].id in raised.value.fault.message
        assert 'the run "nobody" is not hosted here' in raised.value.fault.message
        await sender.closed()
        await pool.close()


# LANE-16


FIRST_FRAMES: list[Any] = [
    pytest.param(b"\xff\xff\xff garbage", id="garbage"),
    pytest.param(b"\x0a\x7f", id="truncated"),
    pytest.param(texts("early").SerializeToString(), id="items"),
    pytest.param(end(0).SerializeToString(), id="end"),
    pytest.param(b"", id="sign of life", marks=pytest.mark.waits),
    pytest.param(chunk(b"x").SerializeToString(), id="chunk"),
]


@pytest.mark.conformance("LANE-16")
@pytest.mark.parametrize("first", FIRST_FRAMES)
async def test_a_call_that_does_not_open_a_lane_fails_alone(target: Target, first: bytes) -> None:
    stranger = target.lane()
    await stranger.send(first)
    assert (await stranger.status())[0] is not grpc.StatusCode.OK
    silent = target.lane()
    await silent.half_close()
    assert (await silent.status())[0] is not grpc.StatusCode.OK
    lane = await target.opened()
    await lane.send(texts("a"), end(1))
    await lane.half_close()
    assert await target.seen() == (["a"], None)
    await target.sibling_works()


WRONG_FRAMES: list[Any] = [
    pytest.param(LaneType.TEXT, [b"\xff\xff\xff garbage"], id="garbage"),
    pytest.param(LaneType.TEXT, [texts("whole", "frame").SerializeToString()[:-3]], id="truncated"),
    pytest.param(LaneType.TEXT, [b"\x12\x05\x0a\x03\x0a\x01\xff"], id="no UTF-8"),
    pytest.param(LaneType.TEXT, [opening("r", "e")], id="open again"),
    pytest.param(LaneType.TEXT, [texts(*["x"] * 11)], id="more than the limit"),
    pytest.param(LaneType.TEXT, [payload(data_json="1")], id="another type"),
    pytest.param(LaneType.TEXT, [payload()], id="empty item"),
    pytest.param(LaneType.TEXT, [chunk(b"x"), texts("b")], id="chunk before text"),
    pytest.param(
        LaneType.TEXT, [chunk(b"x"), lane_pb2.ExchangeRequest(items=lane_pb2.LaneItems())], id="chunk before nothing"
    ),
    pytest.param(LaneType.TEXT, [chunk(b"x"), end(1)], id="chunk before the end"),
    pytest.param(LaneType.IMAGE, [chunk(b"x"), end(1)], id="chunk without its image"),
    pytest.param(
        LaneType.DOCUMENTS, [chunk(b"x"), payload(document=lane_pb2.Document(content="y"))], id="chunk before no file"
    ),
    pytest.param(LaneType.IMAGE, [payload(image=lane_pb2.Media(content=b"x", uri="y"))], id="content and URI"),
    pytest.param(LaneType.IMAGE, [chunk(b"x"), payload(image=lane_pb2.Media(uri="y"))], id="chunk and URI"),
    pytest.param(LaneType.DATA, [payload(data_json="no JSON")], id="no JSON"),
    pytest.param(LaneType.DATA, [payload(data_json="")], id="no text"),
    pytest.param(LaneType.DATA, [payload(data_json="NaN")], id="NaN"),
    pytest.param(LaneType.DATA, [payload(data_json="[1e999]")], id="infinity"),
    pytest.param(LaneType.DATA, [payload(data_json=str(2**63))], id="too large an integer"),
    pytest.param(LaneType.DATA, [payload(data_json='"\\ud800"')], id="half a character"),
    pytest.param(LaneType.DATA, [payload(data_json="[" * 200 + "]" * 200)], id="deep"),
    pytest.param(LaneType.DATA, [payload(data_json="[" * 50_000 + "]" * 50_000)], id="very deep"),
    pytest.param(LaneType.DATA, [payload(data_json="9" * 10_000)], id="very long integer"),
    pytest.param(LaneType.TAGS, [payload(tags_json="[]")], id="no object"),
    pytest.param(LaneType.TAGS, [payload(tags_json="7")], id="number for tags"),
    pytest.param(
        LaneType.TABLE, [payload(table=lane_pb2.Table(rows=[lane_pb2.TableRow(cells_json=["1"])]))], id="ragged"
    ),
    pytest.param(
        LaneType.TABLE,
        [payload(table=lane_pb2.Table(columns=["a"], rows=[lane_pb2.TableRow(cells_json=["x"])]))],
        id="bad cell",
    ),
    pytest.param(
        LaneType.DOCUMENTS, [payload(document=lane_pb2.Document(metadata_json="[]"))], id="metadata no object"
    ),
    pytest.param(LaneType.ANSWERS, [payload(answer=lane_pb2.Answer(data_json="{"))], id="bad answer"),
    pytest.param(LaneType.QUESTIONS, [payload(question=lane_pb2.Question(schema_json="1"))], id="bad schema"),
]

GOOD: dict[LaneType, dict[str, Any]] = {
    LaneType.TEXT: {"text": "good"},
    LaneType.IMAGE: {"image": lane_pb2.Media(content=b"good")},
    LaneType.DATA: {"data_json": '"good"'},
    LaneType.TAGS: {"tags_json": '{"good": true}'},
    LaneType.TABLE: {"table": lane_pb2.Table(columns=["good"])},
    LaneType.DOCUMENTS: {"document": lane_pb2.Document(content="good")},
    LaneType.ANSWERS: {"answer": lane_pb2.Answer(text="good")},
    LaneType.QUESTIONS: {"question": lane_pb2.Question(text="good")},
}


@pytest.mark.conformance("LANE-16")
@pytest.mark.parametrize(("lane_type", "frames"), WRONG_FRAMES)
async def test_a_wrong_frame_fails_its_lane_alone(
    between: Rig, lane_type: LaneType, frames: list[lane_pb2.ExchangeRequest | bytes]
) -> None:
    async with target_of(between, lane_type=lane_type, limit_items=10) as target:
        lane = await target.opened()
        await lane.send(payload(**GOOD[lane_type]), *frames)
        await lane.half_close()
        taken, fault = await target.seen()
        assert len(taken) == 1
        assert fault is not None
        assert fault.code is not Code.OK
        assert fault.secondary
        assert target.run.wires[0].id in fault.message
        await lane.status()
        await target.sibling_works()


@pytest.mark.conformance("LANE-16")
async def test_items_after_the_end_fail_the_call_and_not_the_lane(target: Target) -> None:
    lane = await target.opened()
    await lane.send(texts("a"), end(1), texts("b"))
    await lane.half_close()
    assert (await lane.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert await target.seen() == (["a"], None)
    await target.sibling_works()


@pytest.mark.conformance("LANE-05")
@pytest.mark.parametrize("with_open", [0, 2, 3])
async def test_items_may_come_with_the_opening_and_the_end_with_the_last_items(target: Target, with_open: int) -> None:
    values = ["a", "b", "c"]
    first, rest = texts(*values[:with_open]).items, texts(*values[with_open:])
    (first if with_open == len(values) else rest.items).end.item_count = len(values)
    lane = target.lane()
    await lane.send(target.opening(items=first), *([rest] if with_open < len(values) else []))
    await lane.half_close()
    assert await target.seen() == (values, None)
    assert (await lane.status())[0] is grpc.StatusCode.OK


@pytest.mark.conformance("LANE-16")
async def test_items_of_the_opening_are_within_the_limit(target: Target) -> None:
    lane = target.lane()
    await lane.send(target.opening(items=texts(*["x"] * 11).items))
    await lane.half_close()
    assert (await lane.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
    taken, fault = await target.seen()
    assert taken == []
    assert fault is not None
    assert "the limit is 10" in fault.message
    await target.sibling_works()


@pytest.mark.conformance("LANE-16")
async def test_credit_is_the_bound_not_the_limit_alone(target: Target) -> None:
    lane = await target.opened()
    await lane.send(texts(*["x"] * 10))
    await target.run.consumer.act(acts.take, 10)
    credit = (await lane.next_frame()).credit
    assert (credit.taken_items, credit.limit_items) == (10, 10)
    await lane.send(texts(*["y"] * 11))
    await lane.half_close()
    taken, fault = await target.seen()
    assert taken == []
    assert fault is not None
    assert fault.code is Code.INVALID_ARGUMENT
    assert "the limit is 10" in fault.message


@pytest.mark.conformance("LANE-16")
async def test_frames_with_random_damage_never_hang_a_consumer_nor_harm_its_siblings(between: Rig) -> None:
    chance = random.Random(3)
    whole = [
        texts("one", "two", "three").SerializeToString(),
        payload(text="x", metadata={"a": "b"}, group=lane_pb2.Group(id="g", index=1, last=True)).SerializeToString(),
        end(4).SerializeToString(),
    ]
    wires = [Wire(producer=f"by_hand_{number}", consumer=f"consumer_{number}") for number in range(60)]
    beside = Wire(producer="producer_b", consumer="consumer_b")
    async with (
        between.run(*wires, beside, by_hand="by_hand") as run,
        raw_channel(between.there.address if between.there else "") as channel,
    ):
        for wire in wires:
            lane = RawLane(channel)
            damaged = [bytearray(frame) for frame in whole]
            for _ in range(chance.choice([1, 1, 2, 5])):
                frame = chance.choice(damaged)
                if frame:
                    frame[chance.randrange(len(frame))] = chance.randrange(256)
                if chance.random() < 0.3:
                    del frame[chance.randrange(len(frame) + 1) :]
            await lane.send(opening(run.id, wire.id), *map(bytes, damaged))
            await lane.half_close()
            await run.hand(wire.consumer).act(acts.take_until_fault)
            assert (await lane.status())[0] in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
        received = run.hand("consumer_b").begin(acts.take, 3)
        await run.hand("producer_b").act(acts.emit_numbers, 3)
        assert await received == ["0", "1", "2"]
