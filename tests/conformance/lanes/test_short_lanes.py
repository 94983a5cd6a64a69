"""Lanes that have ended before their first frame: they share a call, and are as right as any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from lanemesh import Client
from lanemesh._grpc.connections import ConnectionPool
from lanemesh.faults import Code, Fault
from lanemesh.features import FEATURES, Feature
from lanemesh.items import ITEM_OVERHEAD_BYTES, LaneType
from lanemesh.lanes.transport import grpc_sender
from lanemesh.lanes.transport.frames import Frame, parsed, serialize
from lanemesh.lanes.transport.grpc_sender import GrpcSender
from lanemesh.lanes.transport.short_lanes import EXCHANGE_SHORT, OnClosed, ShortLanes
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.host_session import HostSession
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import lane_pb2, node_pb2

from rigs.joined import APART, mesh_of
from rigs.runs import NODES, Pipeline, at, line, node, until

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[lane_pb2.ExchangeRequest]:
    """The frames of lanes with a call of their own."""
    found: list[lane_pb2.ExchangeRequest] = []

    def noting(frame: Frame) -> bytes:
        found.append(parsed(frame))
        return serialize(frame)

    monkeypatch.setattr(grpc_sender, "serialize", noting)
    return found


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[lane_pb2.LaneOpen]:
    """The lanes that share a call."""
    found: list[lane_pb2.LaneOpen] = []
    send = ShortLanes.send

    def noting(self: ShortLanes, address: str, lane: lane_pb2.LaneOpen, on_closed: OnClosed) -> Any:
        found.append(lane)
        return send(self, address, lane, on_closed)

    monkeypatch.setattr(ShortLanes, "send", noting)
    return found


async def states(client: Client, document: Pipeline) -> Counter[tuple[str, str]]:
    """How often each state of each component was reported in a completed run."""
    run = client.run(document, input="x")
    found = Counter([(update.component, str(update.state)) async for update in run.nodes()])
    assert run.state == "completed"
    return found


@pytest.mark.conformance("START-01")
async def test_a_lane_that_ends_at_once_has_no_call_of_its_own(
    frames: list[lane_pb2.ExchangeRequest], short: list[lane_pb2.LaneOpen]
) -> None:
    async with mesh_of("left", "right") as (_, client, _servers):
        found = await states(client, APART)
        assert frames == []
        assert [len(lane.items.items) for lane in short] == [1, 1, 1]
        assert [lane.items.end.item_count for lane in short] == [1, 1, 1]
        assert {state: count for (_, state), count in found.items()} == {"running": 1, "completed": 1}


@pytest.mark.conformance("START-01")
async def test_a_lane_takes_two_frames_at_most_if_a_server_of_the_run_has_no_short_lanes(
    frames: list[lane_pb2.ExchangeRequest], short: list[lane_pb2.LaneOpen]
) -> None:
    async with mesh_of("left", "right", features=FEATURES - {Feature.SHORT_LANES}) as (_, client, _servers):
        await states(client, APART)
        kinds = [frame.WhichOneof("frame") for frame in frames]
        assert kinds.count("open") == 3
        assert len(kinds) <= 6
        assert all(frame.open.HasField("items") for frame in frames if frame.HasField("open"))
        assert short == []


@pytest.mark.conformance("START-01")
async def test_frames_are_not_merged_if_one_server_of_the_run_cannot_read_that(
    frames: list[lane_pb2.ExchangeRequest], short: list[lane_pb2.LaneOpen]
) -> None:
    async with mesh_of("left", "right", features=FEATURES - {Feature.MERGED_FRAMES}) as (_, client, _servers):
        found = await states(client, APART)
        assert [frame.WhichOneof("frame") for frame in frames].count("end") == 3
        assert not any(frame.open.HasField("items") for frame in frames)
        assert short == []
        assert {state: count for (_, state), count in found.items()} == {"running": 1, "completed": 1}


@pytest.mark.conformance("START-01")
async def test_lanes_that_do_not_fit_into_a_frame_have_a_call_of_their_own(short: list[lane_pb2.LaneOpen]) -> None:
    document = line(at("left", node("a", "numbers", count=257)), at("right", node("b", "total", "a")))
    async with mesh_of("left", "right") as (_, client, _servers):
        result = await client.run(document).result()
        assert result.state == "completed"
        assert "a.text>b.text" not in {lane.edge_id for lane in short}


# Frames by hand


@pytest.fixture
async def pool() -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool()
    yield pool
    await pool.close()


class Consumers:
    """A node server with a run whose consumers, "b" and "c", read one lane each from a server that is not there."""

    def __init__(self, server: NodeServer, provider: str) -> None:
        self.server = server
        self.session: HostSession = server.host.session()
        self.edges = [self.edge(component) for component in ("b", "c")]
        instances = [node_pb2.Instance(component=component, provider=provider) for component in ("b", "c")]
        self.place = node_pb2.Place(
            run_id="r", instances=instances, edges=self.edges, opens_lanes_at_start=True, merges_frames=True
        )
        self.updates: dict[str, str] = {}
        """The faults of the nodes that have ended, by component; empty: it completed."""

    def edge(self, component: str) -> node_pb2.Edge:
        """The edge of a consumer."""
        return node_pb2.Edge(
            id=f"a.text>{component}.text",
            producer="a",
            output="text",
            consumer=component,
            input="text",
            lane_type=LaneType.TEXT.wire,
            limit_items=4,
            limit_bytes=1000,
            producer_server="elsewhere",
            consumer_address=self.server.address,
        )

    async def start(self) -> None:
        """Places the run and starts it."""
        self.session.handle(node_pb2.HostRequest(place=self.place))
        assert (await anext(self.session.responses())).placed == node_pb2.Placed()
        self.session.handle(node_pb2.HostRequest(start=node_pb2.Start()))

    async def finish(self) -> None:
        """Reads the reports to the last one."""
        async for frame in self.session.responses():
            for response in (frame, *frame.more):
                if response.update.node.state > 2:
                    self.updates[response.update.node.component] = response.update.node.error.message

    def open(self, component: str, *texts: str, count: int | None = None, **fields: Any) -> lane_pb2.LaneOpen:
        """A whole lane to a consumer."""
        items = lane_pb2.LaneItems(items=[lane_pb2.Item(text=text) for text in texts])
        items.end.item_count = len(texts) if count is None else count
        opening = lane_pb2.LaneOpen(
            run_id="r", edge_id=self.edge(component).id, lane_type=LaneType.TEXT.wire, items=items
        )
        opening.MergeFrom(lane_pb2.LaneOpen(**fields))
        return opening


@pytest.fixture
async def server() -> AsyncIterator[NodeServer]:
    server = NodeServer(NodeHost([load_file(NODES)], name="right"))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def call(server: NodeServer) -> AsyncIterator[Any]:
    """A call of short lanes."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel.stream_stream(
            EXCHANGE_SHORT,
            request_serializer=lane_pb2.ExchangeShortRequest.SerializeToString,
            response_deserializer=lane_pb2.ExchangeShortResponse.FromString,
        )()


async def closed(call: Any, count: int) -> dict[int, Fault | None]:
    """The reports of so many lanes, by number."""
    found: dict[int, Fault | None] = {}
    while len(found) < count:
        for one in (await call.read()).closed:
            assert one.number not in found
            found[one.number] = Fault.from_proto(one.fault) if one.HasField("fault") else None
    return found


async def send(call: Any, *lanes: lane_pb2.LaneOpen) -> None:
    """Sends lanes in one frame, numbered from 1."""
    request = lane_pb2.ExchangeShortRequest()
    for number, lane in enumerate(lanes, 1):
        request.lanes.add(number=number, open=lane)
    await call.write(request)


@pytest.mark.conformance("START-01")
async def test_lanes_of_a_call_are_closed_when_their_items_were_taken(server: NodeServer, call: Any) -> None:
    run = Consumers(server, "tag")
    await run.start()
    await send(call, run.open("b", "x", "y"), run.open("c"))
    assert await closed(call, 2) == {1: None, 2: None}
    await run.finish()
    assert run.updates == {"b": "", "c": ""}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an item is missing": ({"count": 2}, "1 of 2 items arrived"),
    "too many items": ({"more": ["y"] * 4}, "5 items are in transit; the limit is 4"),
}


@pytest.mark.conformance("START-01")
@pytest.mark.parametrize("case", BAD)
async def test_a_bad_lane_fails_its_consumer_and_no_other(case: str, server: NodeServer, call: Any) -> None:
    fields, message = BAD[case]
    run = Consumers(server, "tag")
    await run.start()
    await send(call, run.open("b", "x", *fields.get("more", ()), count=fields.get("count")), run.open("c", "x"))
    assert (await closed(call, 2))[2] is None
    await run.finish()
    assert message in run.updates["b"]
    assert run.updates["c"] == ""


@pytest.mark.conformance("START-01")
async def test_lanes_that_are_refused_leave_the_call_and_other_lanes(server: NodeServer, call: Any) -> None:
    run = Consumers(server, "tag")
    await run.start()
    unknown = run.open("b", "x")
    unknown.run_id = "another"
    endless = run.open("b", "x")
    endless.items.ClearField("end")
    await send(call, unknown, run.open("b", resume_from=1), run.open("c", "x"), run.open("c", "y"), endless)
    found = await closed(call, 5)
    assert found.pop(3) is None
    reasons = {number: fault and (fault.code, fault.reason) for number, fault in found.items()}
    assert reasons == {
        1: (Code.NOT_FOUND, "unknown-run"),
        2: (Code.INVALID_ARGUMENT, "lane-broken"),
        4: (Code.ALREADY_EXISTS, "already-open"),
        5: (Code.INVALID_ARGUMENT, "lane-broken"),
    }
    await run.finish()
    assert "a short lane came without its end" in run.updates["b"]


def sender_of(run: Consumers, pool: ConnectionPool, lanes: ShortLanes, run_id: str = "r") -> GrpcSender:
    """A producer of the lane to "b", which has sent two items and has ended."""
    sender = GrpcSender(run.edges[0], run_id, pool, merges=True, short=lanes)
    sender.dial()
    for _ in range(2):
        assert sender.offer("x", 1 + ITEM_OVERHEAD_BYTES, None)
    sender.end()
    return sender


@pytest.mark.conformance("START-01")
async def test_a_lane_to_a_run_that_is_not_there_is_refused(server: NodeServer, pool: ConnectionPool) -> None:
    lanes = ShortLanes(pool)
    sender = sender_of(Consumers(server, "tag"), pool, lanes, "another")
    await sender.closed()
    assert sender.fault is not None
    assert (sender.fault.code, sender.fault.reason) == (Code.NOT_FOUND, "lane-refused")
    await lanes.close()


@pytest.mark.conformance("START-01")
async def test_a_lane_breaks_with_its_call_and_the_next_one_gets_a_new_call(
    server: NodeServer, pool: ConnectionPool
) -> None:
    lanes, run = ShortLanes(pool), Consumers(server, "hang")
    await run.start()
    sender = sender_of(run, pool, lanes)
    await until(lambda: any(edge.arrived for edge in server.host.runs["r", 0]._lanes.edges.values()))
    (shared,) = lanes._calls.values()
    shared.cancel()
    next_one = sender_of(run, pool, lanes)
    await sender.closed()
    await next_one.closed()
    assert sender.fault is not None
    assert (sender.fault.code, sender.fault.reason) == (Code.UNAVAILABLE, "lane-broken")
    assert next_one.fault is not None
    assert next_one.fault.code is Code.ALREADY_EXISTS  # a new call has carried it
    await lanes.close()
    await run.session.close()


@pytest.mark.conformance("START-01")
async def test_a_short_lane_whose_consumer_does_not_take_its_items_can_be_aborted(
    server: NodeServer, pool: ConnectionPool
) -> None:
    lanes, run = ShortLanes(pool), Consumers(server, "hang")
    await run.start()
    sender = sender_of(run, pool, lanes)
    await until(lambda: any(edge.arrived for edge in server.host.runs["r", 0]._lanes.edges.values()))
    await sender.abort(Fault(code=Code.CANCELLED, reason="cancelled", message="enough"))
    (shared,) = lanes._calls.values()
    assert shared._open == {}
    await lanes.close()
    await run.session.close()


@pytest.mark.conformance("START-01")
async def test_a_host_that_closes_ends_the_calls_of_short_lanes(server: NodeServer, call: Any) -> None:
    await send(call, lane_pb2.LaneOpen(run_id="nobody"))
    await closed(call, 1)
    await server.host.close()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.conformance("START-01")
async def test_bytes_that_are_no_frame_end_the_call(server: NodeServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.stream_stream(EXCHANGE_SHORT)()
        await call.write(b"\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError, match="the first frame, the lane, is invalid") as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        later: Any = channel.stream_stream(EXCHANGE_SHORT)()
        await later.write(lane_pb2.ExchangeShortRequest().SerializeToString())
        await later.write(lane_pb2.ExchangeShortRequest(lanes=[lane_pb2.ShortLane()]).SerializeToString())
        await later.read()
        await later.write(b"\xff\xff\xff")
        assert await later.read() is grpc.aio.EOF
        assert not server.host._at_close


@pytest.mark.conformance("START-01")
async def test_reports_for_a_caller_that_does_not_read_are_bounded(
    server: NodeServer, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanemesh.lanes.transport.short_receiver.MAX_UNREPORTED", 10)
    for _ in range(20):
        await send(call, *[lane_pb2.LaneOpen(run_id="nobody")] * 10)
    found = 0
    while found < 200:
        found += len((await call.read()).closed)
    assert found == 200
