"""Lanes of recoverable components: replay to a new consumer, reopening by a new producer, and prompt acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc.aio._call import StreamStreamCall
from lanemesh._aio.signal import Signal
from lanemesh._grpc.connections import SERVER_OPTIONS, ConnectionPool
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import LaneType
from lanemesh.lanes.recovery.replaying_sender import ReplayingSender
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.node.runtime.actor import Actor, Outcome
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.host_session import HostSession
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import lane_pb2, node_pb2

from rigs.lane_frames import RawLane, end, opening, raw_channel, texts
from rigs.lanes import SOON, Wire, edge_of
from rigs.replicas import RECOVERY_NODES

pytestmark = pytest.mark.timeout(60)


class Consumer(grpc.GenericRpcHandler):
    """Accepts lanes, records the frames, and sends the frames that a test gives it."""

    def __init__(self, limit: int = 100) -> None:
        self.address = ""
        self.came: list[str] = []
        self.opens: list[lane_pb2.LaneOpen] = []
        self.ended: lane_pb2.LaneEnd | None = None
        self.changed = Signal()
        self.may_end = asyncio.Event()
        """Its calls end with their producers; else they stay."""
        self.may_end.set()
        self._limit = limit
        self._context: Any = None
        self._writing = asyncio.Lock()
        self._server = grpc.aio.server(options=SERVER_OPTIONS)

    def service(self, handler_call_details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(
            self._exchange,
            request_deserializer=lane_pb2.ExchangeRequest.FromString,
            response_serializer=lane_pb2.ExchangeResponse.SerializeToString,
        )

    async def _exchange(self, requests: object, context: Any) -> None:
        self._context = context
        self.opens.append((await context.read()).open)
        accepted = lane_pb2.LaneAccepted(limit_items=self._limit)
        await self.send(lane_pb2.ExchangeResponse(accepted=accepted))
        while (frame := await context.read()) is not grpc.aio.EOF:
            self.came += [item.text for item in frame.items.items]
            if frame.WhichOneof("frame") == "end":
                self.ended = frame.end
            self.changed.fire()
        await self.may_end.wait()

    async def start(self) -> None:
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def lose(self) -> None:
        """Goes away, and its calls with it."""
        await self._server.stop(0)

    async def credit(self, taken: int, processed: int) -> None:
        credit = lane_pb2.LaneCredit(taken_items=taken, acknowledged_items=processed, limit_items=self._limit)
        await self.send(lane_pb2.ExchangeResponse(credit=credit))

    async def stop(self, fault: Fault | None = None) -> None:
        stop = lane_pb2.LaneStop(reason="enough", fault=fault.to_proto() if fault is not None else None)
        await self.send(lane_pb2.ExchangeResponse(stop=stop))

    async def send(self, frame: lane_pb2.ExchangeResponse) -> None:
        async with self._writing:  # a call takes one write at a time
            await self._context.write(frame)

    async def got(self, *came: str) -> None:
        """Waits until just these have come."""
        await self.until(lambda: self.came == list(came))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not holds():
                await self.changed.wait()

    def route(self, edge_id: str, incarnation: int = 1) -> node_pb2.ReroutedEdge:
        return node_pb2.ReroutedEdge(edge_id=edge_id, consumer_address=self.address, incarnation=incarnation)


EDGE = Wire().id


class Stage:
    """A producer, its lane and two consumers."""

    def __init__(self, sender: ReplayingSender, first: Consumer, second: Consumer) -> None:
        self.sender, self.first, self.second = sender, first, second
        self.outputs = Outputs("producer", {"out": OutputLanes("producer.out", LaneType.TEXT, [sender])})

    async def emit(self, *values: str) -> None:
        async with asyncio.timeout(SOON):
            for value in values:
                await self.outputs.emit("out", value)

    async def known(self, processed: int) -> None:
        """Waits until the producer knows what was processed."""
        async with asyncio.timeout(SOON):
            while self.sender.acknowledged < processed:  # noqa: ASYNC110 - the credit of a wire by hand
                await asyncio.sleep(0.005)

    def reroute(self) -> None:
        self.sender.reroute(self.second.route(EDGE))


@asynccontextmanager
async def stage(**options: Any) -> AsyncIterator[Stage]:
    first, second, pool = Consumer(), Consumer(), ConnectionPool()
    await first.start()
    await second.start()
    edge = edge_of(Wire(), first.address)
    edge.replayable = True
    sender = ReplayingSender(edge, "run", pool, **options)
    await sender.open()
    try:
        yield Stage(sender, first, second)
    finally:
        async with asyncio.timeout(SOON):
            await sender.abort(Fault(code=Code.CANCELLED, reason="cancelled", message="the test is over"))
            await sender.closed()
        await first.lose()
        await second.lose()
        await pool.close()


async def test_what_was_not_processed_is_sent_again_in_order() -> None:
    async with stage() as on:
        await on.emit(*"abcdef")
        await on.first.got(*"abcdef")
        await on.first.credit(4, 2)
        await on.known(2)
        await on.first.lose()
        told = on.sender.detach()
        assert (told.done, told.HasField("fault")) == (False, False)
        on.reroute()
        await on.emit("g")
        on.outputs.end()
        await on.second.until(lambda: on.second.ended is not None)
        assert on.second.came == list("cdefg")
        assert on.second.ended is not None
        assert on.second.ended.item_count == 5
        assert [(opened.incarnation, opened.resume_from, opened.reopen) for opened in on.second.opens] == [
            (1, 2, False)
        ]
        assert on.sender.sent == 7


async def test_a_call_that_ends_while_it_is_half_closed_is_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = asyncio.Event()

    async def fail(call: Any) -> None:
        monkeypatch.undo()
        failed.set()
        raise grpc.aio.InternalError('Failed "execute_batch"')

    async with stage() as on:
        await on.emit("a")
        await on.first.got("a")
        monkeypatch.setattr(StreamStreamCall, "done_writing", fail)
        on.outputs.end()
        await failed.wait()
        await on.first.lose()
        assert not on.sender.detach().HasField("fault")
        on.reroute()
        await on.second.until(lambda: on.second.ended is not None)
        assert on.second.came == ["a"]


@pytest.mark.parametrize("reported", ["before its loss", "after its loss"])
async def test_a_lane_to_a_lost_consumer_that_had_ended_is_complete(reported: str) -> None:
    async with stage() as on:
        await on.emit("a", "b")
        await on.first.got("a", "b")
        on.outputs.end()
        if reported == "before its loss":
            on.sender.end_consumer()
        await on.first.lose()
        if reported == "after its loss":
            on.sender.end_consumer()
        await on.sender.closed()
        assert (on.sender.stopped, on.sender.fault) == (True, None)


async def test_a_detach_cuts_a_lane_that_is_still_there() -> None:
    """The orchestrator has lost the server, and the producer has not: what that still processes is done again."""
    async with stage() as on:
        await on.emit("a", "b")
        await on.first.got("a", "b")
        on.sender.detach()
        assert on.sender.full
        on.reroute()
        await on.second.got("a", "b")
        await on.emit("c")
        await on.second.got("a", "b", "c")
        assert on.first.came == ["a", "b"]


async def test_a_producer_waits_while_its_consumer_is_away() -> None:
    async with stage() as on:
        await on.emit("a")
        await on.first.got("a")
        await on.first.lose()
        on.sender.detach()
        emitting = asyncio.create_task(on.emit("b"))
        done, _ = await asyncio.wait([emitting], timeout=0.1)
        assert not done
        on.reroute()
        await asyncio.wait_for(emitting, SOON)
        await on.second.got("a", "b")


async def test_a_producer_that_has_ended_sends_again_and_ends_again() -> None:
    async with stage() as on:
        on.first.may_end.clear()
        await on.emit("a", "b")
        on.outputs.end()
        await on.first.until(lambda: on.first.ended is not None)
        closing = asyncio.create_task(on.outputs.closed())
        await on.first.lose()
        on.sender.detach()
        on.reroute()
        await asyncio.wait_for(closing, SOON)  # the second one's call is over, though no processed items were reported
        assert on.second.came == ["a", "b"]
        assert on.sender.fault is None
        assert on.sender.detach().done


async def test_a_consumer_that_is_lost_in_the_middle_of_it_is_followed_by_another() -> None:
    async with stage() as on:
        await on.emit(*"abcd")
        await on.first.got(*"abcd")
        await on.first.lose()
        on.sender.detach()
        on.reroute()
        await on.second.got(*"abcd")
        await on.second.credit(2, 1)
        await on.known(1)
        await on.second.lose()
        third = Consumer()
        await third.start()
        on.sender.detach()
        on.sender.reroute(third.route(EDGE, incarnation=2))
        await third.got(*"bcd")
        await on.emit("e")
        await third.got(*"bcde")
        assert third.opens[0].resume_from == 1
        await third.lose()


async def test_more_items_than_its_next_consumer_takes_at_once() -> None:
    async with stage() as on:
        on.second._limit = 2
        await on.emit(*"abcde")
        await on.first.got(*"abcde")
        await on.first.lose()
        on.sender.detach()
        on.reroute()
        await on.second.got("a", "b")
        await on.second.credit(2, 0)
        await on.second.got(*"abcd")
        assert on.sender.full
        await on.second.credit(4, 4)
        await on.emit("f")
        await on.second.got(*"abcdef")


async def test_a_broken_lane_without_a_reported_loss_fails_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lanemesh.lanes.recovery.replaying_sender.UNSAID_SECONDS", 0.1)
    async with stage() as on:
        await on.emit("a")
        await on.first.got("a")
        await on.first.lose()
        await asyncio.wait_for(on.sender.closed(), SOON)
        with pytest.raises(LaneFault, match="broke"):
            await on.emit("b")
        assert on.sender.detach().HasField("fault")


async def test_a_detach_gives_it_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh.lanes.recovery.replaying_sender.UNSAID_SECONDS", 0.1)
    async with stage() as on:
        await on.emit("a")
        await on.first.got("a")
        await on.first.lose()
        on.sender.detach()
        await asyncio.wait([asyncio.create_task(on.sender.closed())], timeout=0.3)
        on.reroute()
        await on.second.got("a")


async def test_more_than_is_kept_cannot_be_sent_again_until_it_is_processed() -> None:
    async with stage(max_items=3) as on:
        await on.emit(*"abcde")
        await on.first.got(*"abcde")
        fault = Fault.from_proto(on.sender.detach().fault)
        assert fault.reason == "not-kept"
        assert "5 items were not acknowledged, and at most 3 of them" in fault.message
        await on.first.credit(2, 2)
        await on.known(2)
        assert not on.sender.detach().HasField("fault")
        on.reroute()
        await on.second.got(*"cde")


async def test_bytes_are_bounded_as_well() -> None:
    async with stage(max_bytes=100) as on:
        await on.emit("a" * 60, "b" * 60)
        assert on.sender.detach().HasField("fault")


async def test_a_stop_is_the_end_and_that_of_a_cancelled_consumer_is_a_loss() -> None:
    async with stage() as on:
        await on.emit("a")
        await on.first.stop(Fault(code=Code.CANCELLED, reason="cancelled", message="c was cancelled", secondary=True))
        await on.first.until(lambda: on.first.ended is not None)
        assert not on.sender.stopped
        on.sender.detach()
        on.reroute()
        await on.second.got("a")
        await on.second.stop()
        await on.second.until(lambda: on.second.ended is not None)
        assert await on.outputs.emit("out", "b") is False
        assert on.sender.detach().done


async def test_an_abort_ends_the_waiting() -> None:
    async with stage() as on:
        await on.emit("a")
        await on.first.lose()
        on.sender.detach()
        async with asyncio.timeout(10):
            await on.sender.abort(Fault(code=Code.CANCELLED, reason="cancelled", message="the run was cancelled"))
            await on.sender.closed()
        assert on.sender.stopped


# The consumer's end


class Hosted:
    """A node host that runs one component, and our side of its run."""

    def __init__(self, host: NodeHost, session: HostSession, address: str) -> None:
        self.host, self.address = host, address
        self._session = session
        self._said: dict[str, node_pb2.HostResponse] = {}
        self._heard = Signal()
        self._listening = asyncio.create_task(self._listen(), name="listening")

    async def _listen(self) -> None:
        async for response in self._session.responses():
            self._said[response.WhichOneof("frame") or ""] = response
            self._heard.fire()

    async def say(self, answer: str, **frame: Any) -> node_pb2.HostResponse:
        """Sends a frame, and waits for its answer if there is one."""
        self._said.pop(answer, None)
        self._session.handle(node_pb2.HostRequest(**frame))
        async with asyncio.timeout(SOON):
            while answer and answer not in self._said:
                await self._heard.wait()
        return self._said[answer] if answer else node_pb2.HostResponse()

    async def close(self) -> None:
        await self._session.close()
        await self._listening


@asynccontextmanager
async def hosted(
    provider: str, *edges: node_pb2.Edge, opens_lanes_at_start: bool = False, config: str = ""
) -> AsyncIterator[Hosted]:
    """The component "c", placed with these edges."""
    server = NodeServer(NodeHost([load_file(RECOVERY_NODES)], name="n"))
    await server.start()
    run = Hosted(server.host, server.host.session(), server.address)
    place = node_pb2.Place(
        run_id="r",
        protocol_version=PROTOCOL_VERSION,
        instances=[node_pb2.Instance(component="c", provider=provider, config_json=config)],
        edges=edges,
        opens_lanes_at_start=opens_lanes_at_start,
    )
    try:
        assert not (await run.say("placed", place=place)).placed.faults
        yield run
    finally:
        await run.close()
        await server.stop()


def into(**marks: Any) -> node_pb2.Edge:
    """An edge from elsewhere into "c"."""
    return edge(id="p.text>c.text", producer="p", output="text", consumer="c", input="text", **marks)


def out_to(consumer: Consumer, **marks: Any) -> node_pb2.Edge:
    """An edge from "c" to elsewhere."""
    ends = {"producer": "c", "output": "passed", "consumer": "d", "input": "text"}
    return edge(id="c.passed>d.text", consumer_address=consumer.address, **ends, **marks)


def edge(**fields: Any) -> node_pb2.Edge:
    """An edge of texts."""
    return node_pb2.Edge(lane_type=LaneType.TEXT.wire, limit_items=64, limit_bytes=1 << 20, **fields)


async def next_credit(lane: RawLane) -> lane_pb2.LaneCredit:
    while (frame := await asyncio.wait_for(lane.next_frame(), SOON)).WhichOneof("frame") != "credit":
        pass
    return frame.credit


async def test_processed_items_are_acknowledged_when_their_outputs_are_committed() -> None:
    """Also on a lane that was opened before the node knew its own lanes."""
    consumer = Consumer()
    await consumer.start()
    edges = (into(replayable=True), out_to(consumer, reopenable=True))
    async with hosted("steady", *edges) as run, raw_channel(run.address) as channel:
        lane = RawLane(channel)
        await lane.send(opening("r", "p.text>c.text"))
        await lane.accepted()
        assert not (await run.say("connected", connect=node_pb2.Connect())).connected.faults
        await run.say("", start=node_pb2.Start())
        await lane.send(texts("a", "b", "c"))
        await consumer.got("a", "b", "c")
        told = await next_credit(lane)
        while told.taken_items < 3:
            await lane.send(texts())
            told = await next_credit(lane)
        assert told.acknowledged_items == 0
        arrived = lane_pb2.LaneCredit(arrived_items=2, limit_items=64)
        await consumer.send(lane_pb2.ExchangeResponse(credit=arrived))
        await lane.send(texts("d"), end(4))
        await lane.half_close()
        await consumer.got(*"abcd")
        assert (await lane.status())[0] is grpc.StatusCode.OK
    await consumer.lose()


async def check_that_all_are_sent_again(sender: ReplayingSender, second: Consumer, letters: str) -> None:
    """When the lane of the first server has ended, its component is lost, and not completed."""
    await asyncio.wait_for(sender._lane.closed(), SOON)
    assert not sender.stopped
    assert not sender.detach().done
    sender.reroute(second.route("p.text>c.text"))
    await second.got(*letters)
    await sender.abort(Fault(code=Code.CANCELLED, reason="cancelled", message="over"))


@pytest.mark.parametrize("ended", ["none", "producer", "component"])
async def test_a_server_that_has_lost_its_orchestrator_ends_no_lane_well(ended: str) -> None:
    """What it had taken and not committed is sent to where its component goes on, also if the producer or the component itself has
    ended. The lane to the consumer does not end at once."""
    consumer, second, pool = Consumer(limit=64 if ended == "component" else 4), Consumer(), ConnectionPool()
    consumer.may_end.clear()
    await consumer.start()
    await second.start()
    edges = (into(replayable=True), out_to(consumer, reopenable=True))
    async with hosted("steady", *edges) as run:
        sender = ReplayingSender(into(replayable=True, consumer_address=run.address), "r", pool)
        await sender.open()
        await run.say("connected", connect=node_pb2.Connect())
        await run.say("", start=node_pb2.Start())
        assert all(sender.offer(letter, 40, None) for letter in "abcdefghij")
        if ended != "none":
            sender.end()
        if ended == "component":
            await consumer.until(lambda: consumer.ended is not None)
        else:
            await consumer.got(*"abcd")
        await run.close()
        await check_that_all_are_sent_again(sender, second, "abcdefghij")
    await consumer.lose()
    await second.lose()
    await pool.close()


@pytest.mark.parametrize("failing", ["body", "supervision"])
async def test_a_component_that_has_failed_commits_nothing_more(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server may be lost before it has reported the failure."""

    async def fail(self: Actor) -> Outcome:
        raise RuntimeError

    if failing == "supervision":
        monkeypatch.setattr(Actor, "run", fail)
    consumer, second, pool = Consumer(), Consumer(), ConnectionPool()
    await consumer.start()
    await second.start()
    edges = (into(replayable=True), out_to(consumer, reopenable=True))
    async with hosted("steady", *edges, config='{"fails_at": "a"}') as run:
        sender = ReplayingSender(into(replayable=True, consumer_address=run.address), "r", pool)
        await sender.open()
        assert all(sender.offer(letter, 40, None) for letter in "abcd")
        sender.end()
        await run.say("connected", connect=node_pb2.Connect())
        await run.say("", start=node_pb2.Start())
        await check_that_all_are_sent_again(sender, second, "abcd")
    await consumer.lose()
    await second.lose()
    await pool.close()


async def test_a_component_that_has_ended_commits_nothing_more_once_its_lane_is_broken() -> None:
    """The orchestrator may count its server as lost, and the consumer has cut the lane before the producer has."""
    consumer, second, pool = Consumer(), Consumer(), ConnectionPool()
    consumer.may_end.clear()
    await consumer.start()
    await second.start()
    edges = (into(replayable=True), out_to(consumer, reopenable=True))
    async with hosted("steady", *edges) as run:
        sender = ReplayingSender(into(replayable=True, consumer_address=run.address), "r", pool)
        await sender.open()
        await run.say("connected", connect=node_pb2.Connect())
        await run.say("", start=node_pb2.Start())
        assert all(sender.offer(letter, 40, None) for letter in "abcd")
        sender.end()
        await consumer.until(lambda: consumer.ended is not None)
        await consumer.lose()
        await check_that_all_are_sent_again(sender, second, "abcd")
    await second.lose()
    await pool.close()


async def test_a_consumer_that_has_left_before_its_lane_is_opened_is_lost() -> None:
    """Its server stops, or has started again: it knows nothing of the run."""
    second, pool = Consumer(), ConnectionPool()
    await second.start()
    async with hosted("steady") as run:
        sender = ReplayingSender(into(replayable=True, consumer_address=run.address), "gone", pool)
        sender.dial()
        assert sender.offer("a", 40, None)
        await asyncio.wait_for(sender._lane.closed(), SOON)
        assert sender._lane.fault is not None
        # gRPC reports INTERNAL in place of the server's status, if it comes while the client writes; a lane makes that UNAVAILABLE.
        assert sender._lane.fault.code in (Code.NOT_FOUND, Code.UNAVAILABLE)
        assert (sender.stopped, sender.detach().done) == (False, False)
        sender.reroute(second.route("p.text>c.text"))
        await second.got("a")
        await sender.abort(Fault(code=Code.CANCELLED, reason="cancelled", message="over"))
    await second.lose()
    await pool.close()


async def test_an_edge_outlives_a_lane_that_breaks_and_takes_another_once_it_is_detached() -> None:
    consumer = Consumer()
    await consumer.start()
    edges = (into(reopenable=True), out_to(consumer))
    async with hosted("fragile", *edges) as run, raw_channel(run.address) as channel:
        lane, again = RawLane(channel), opening("r", "p.text>c.text", reopen=True)
        await lane.send(opening("r", "p.text>c.text"))
        await lane.accepted()
        await run.say("connected", connect=node_pb2.Connect())
        await run.say("", start=node_pb2.Start())
        await lane.send(texts("a", "b"))
        await consumer.got("a", "b")
        assert (await next_credit(lane)).arrived_items == 2
        consumer.may_end.clear()

        early = RawLane(channel)
        await early.send(again)
        refused, fault, _ = await early.status()
        assert (refused, fault and fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "not-detached")

        answer = await run.say("detached", detach=node_pb2.Detach(id=7, edge_ids=["p.text>c.text", "x>y"]))
        assert answer.detached == node_pb2.Detached(id=7, edges=[node_pb2.DetachedEdge(edge_id="p.text>c.text")])
        await lane.send(texts("from the dead"))
        assert (await lane.status())[0] is not grpc.StatusCode.OK

        late = RawLane(channel)
        await late.send(opening("r", "p.text>c.text"))
        assert (await late.status())[0] is grpc.StatusCode.ALREADY_EXISTS

        second = RawLane(channel)
        await second.send(again)
        await second.accepted()
        await second.send(texts("c"), end(1))
        assert (await next_credit(second)).arrived_items == 1
        await second.half_close()
        await consumer.got("a", "b", "c")
        assert (await second.status())[0] is grpc.StatusCode.OK
        answer = await run.say("detached", detach=node_pb2.Detach(id=8, edge_ids=["p.text>c.text"]))
        assert answer.detached.edges[0].done
        consumer.may_end.set()
    await consumer.lose()


async def test_a_lost_producer_that_opens_its_lane_late_does_not_take_the_place_of_its_successor() -> None:
    edges = (into(reopenable=True, producer_server="gone"),)
    async with hosted("fragile", *edges, opens_lanes_at_start=True) as run, raw_channel(run.address) as channel:
        await run.say("", start=node_pb2.Start())
        await run.say("detached", detach=node_pb2.Detach(id=1, edge_ids=["p.text>c.text"]))
        late, successor = RawLane(channel), RawLane(channel)
        # One write: after a second one on a refused call, grpc.aio reports INTERNAL in place of the reason.
        await late.send(opening("r", "p.text>c.text", items=texts("a").items))
        refused, fault, _ = await asyncio.wait_for(late.status(), SOON)
        assert (refused, fault and fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "producer-lost")
        await successor.send(opening("r", "p.text>c.text", reopen=True), texts("a"), end(1))
        await successor.accepted()
        await successor.half_close()
        assert (await successor.status())[0] is grpc.StatusCode.OK


async def test_the_end_of_a_cancelled_producer_is_a_loss() -> None:
    """An attempt to place it again was given up, or its server has lost the orchestrator."""
    consumer = Consumer()
    await consumer.start()
    edges = (into(reopenable=True), out_to(consumer))
    async with hosted("fragile", *edges) as run, raw_channel(run.address) as channel:
        lane = RawLane(channel)
        await lane.send(opening("r", "p.text>c.text"))
        await lane.accepted()
        await run.say("connected", connect=node_pb2.Connect())
        await run.say("", start=node_pb2.Start())
        cancelled = Fault(code=Code.CANCELLED, reason="cancelled", message="p was cancelled", secondary=True)
        await lane.send(texts("a"), end(1, cancelled))
        assert (await lane.status())[0] is grpc.StatusCode.UNAVAILABLE
        answer = await run.say("detached", detach=node_pb2.Detach(id=1, edge_ids=["p.text>c.text"]))
        assert answer.detached.edges == [node_pb2.DetachedEdge(edge_id="p.text>c.text")]
        second = RawLane(channel)
        await second.send(opening("r", "p.text>c.text", reopen=True), texts("b"), end(1))
        await second.half_close()
        await consumer.got("a", "b")
        assert (await second.status())[0] is grpc.StatusCode.OK
    await consumer.lose()


async def test_an_edge_that_no_further_lane_comes_to_ends_with_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh.lanes.recovery.reopening.UNSAID_SECONDS", 0.1)
    consumer = Consumer()
    await consumer.start()
    edges = (into(reopenable=True), out_to(consumer))
    async with hosted("fragile", *edges) as run, raw_channel(run.address) as channel:
        lane = RawLane(channel)
        await lane.send(opening("r", "p.text>c.text"))
        await lane.accepted()
        await run.say("connected", connect=node_pb2.Connect())
        await lane.send(texts("a"))
        lane.call.cancel()
        finished = await run.say("finished", start=node_pb2.Start())
        (fault,) = (Fault.from_proto(status) for status in finished.finished.faults)
        assert (fault.code, fault.reason, fault.secondary) == (Code.UNAVAILABLE, "lane-broken", True)
        await consumer.got("a")
    await consumer.lose()


async def test_an_edge_of_one_that_cannot_be_placed_again_is_not_detached() -> None:
    consumer = Consumer()
    await consumer.start()
    async with hosted("fragile", into(), out_to(consumer)) as run:
        await run.say("connected", connect=node_pb2.Connect())
        ids = ["p.text>c.text", "c.passed>d.text"]
        answer = await run.say("detached", detach=node_pb2.Detach(id=1, edge_ids=ids))
        assert [Fault.from_proto(edge.fault).reason for edge in answer.detached.edges] == ["not-recoverable"] * 2
    await consumer.lose()
