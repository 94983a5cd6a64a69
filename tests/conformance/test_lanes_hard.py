"""Lanes in situations that are rare, awkward or meant badly."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import suppress
from typing import Any

import pytest
from lanemesh import Image
from lanemesh._grpc.connections import ConnectionPool
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import LaneType
from lanemesh.lanes.transport.grpc_sender import GrpcSender
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.host.host import NodeHost
from lanemesh.v1 import node_pb2, update_pb2

from rigs import lane_acts as acts
from rigs.lane_frames import Recorder, serving
from rigs.lane_nodes import SERVICE, Interrupted
from rigs.lanes import HereConversation, Rig, Role, Wire, edge_of, standstill
from rigs.runs import until

pytestmark = pytest.mark.timeout(30)

MIB = 1024 * 1024
GONE = Fault(code=Code.CANCELLED, reason="cancelled", message="the test says so")


async def test_a_consumer_that_never_takes_anything_and_leaves(lanes: Rig) -> None:
    async with lanes.run() as run:
        await run.consumer.act(acts.leave)
        assert await run.producer.act(acts.emit_numbers, 1_000_000) < 1_000_000
        await run.producer.act(acts.leave)
        assert await run.finished() == []


@pytest.mark.conformance("LANE-05")
async def test_a_node_that_has_completed_its_output_goes_on_taking(lanes: Rig) -> None:
    wires = [Wire(consumer="middle"), Wire(producer="middle")]
    async with lanes.run(*wires) as run:
        middle = run.hand("middle")
        await middle.act(acts.emit, "only")
        await middle.act(acts.complete)
        assert await run.consumer.act(acts.take_all) == ["only"]
        await run.consumer.act(acts.leave)
        await run.node_ended("consumer")
        await standstill(middle)
        received = middle.begin(acts.check_numbers)
        assert await run.producer.act(acts.emit_numbers, 5_000) == 5_000
        await run.producer.act(acts.leave)
        assert await received == 5_000
        await middle.act(acts.leave)
        assert await run.finished() == []


@pytest.mark.conformance("LANE-08")
async def test_a_stop_travels_through_a_node_whose_only_consumer_has_enough(lanes: Rig) -> None:
    roles = {"producer": Role("fountain"), "consumer": Role("sip", {"items": 3})}
    wires = [Wire(consumer="middle"), Wire(producer="middle")]
    async with lanes.run(*wires, roles=roles) as run:
        middle = run.hand("middle")
        with suppress(Interrupted):  # it is closed while it emits, or while it reads
            await middle.begin(acts.pass_on)
            await middle.act(acts.leave)
        assert await run.finished() == []
        assert (await run.node_ended("producer")).state == update_pb2.NODE_STATE_COMPLETED


@pytest.mark.conformance("LANE-10")
async def test_a_cancel_in_the_middle_of_large_media_leaves_no_part_of_it(lanes: Rig) -> None:
    first, second = Image("image/raw", bytes(2 * MIB)), Image("image/raw", bytes(40 * MIB))
    async with lanes.run(Wire(lane_type=LaneType.IMAGE)) as run:
        await run.producer.act(acts.emit, first)
        await run.consumer.look(acts.arrived, 1)
        emitting = run.producer.begin(acts.emit_each, [second, second])
        await standstill(run.producer, run.consumer)
        await run.producer.cancel()
        with pytest.raises(Interrupted):
            await emitting
        taken, fault = await run.consumer.act(acts.take_until_fault)
        assert taken == [first]
        assert fault is not None
        await run.consumer.act(acts.leave)
        await run.finished()


@pytest.mark.conformance("LANE-08")
async def test_a_stop_in_the_middle_of_large_media_ends_the_producer_without_error(lanes: Rig) -> None:
    large = Image("image/raw", bytes(40 * MIB))
    async with lanes.run(Wire(lane_type=LaneType.IMAGE)) as run:
        emitting = run.producer.begin(acts.emit_copies, large, 10)
        await run.consumer.look(acts.arrived, 1)
        await standstill(run.producer, run.consumer)
        await run.consumer.act(acts.leave)
        assert await emitting < 10
        await run.producer.act(acts.leave)
        assert await run.finished() == []


async def open_lane(address: str, pool: ConnectionPool, **options: Any) -> GrpcSender:
    """A lane by itself, open."""
    sender = GrpcSender(edge_of(Wire(), address), "run", pool, **options)
    await sender.open()
    return sender


async def test_ends_aborts_and_waits_for_the_end_may_come_twice() -> None:
    pool = ConnectionPool()
    async with serving(Recorder()) as address:
        sender = await open_lane(address, pool)
        sender.end()
        sender.end(GONE)
        await asyncio.gather(sender.closed(), sender.closed())
        await sender.closed()
        await asyncio.gather(sender.abort(GONE), sender.abort(GONE))
        assert sender.fault is None

        aborted = await open_lane(address, pool)
        await asyncio.gather(aborted.abort(GONE), aborted.abort(GONE), aborted.closed())
        aborted.end()
        assert aborted.stopped
        assert not aborted.offer("late", 20, None)
        await aborted.wait_for_capacity()
        await aborted.closed()

        never = GrpcSender(edge_of(Wire(), address), "run", pool)
        await never.abort(GONE)
        await never.closed()
        await pool.close()


async def test_a_cancelled_waiter_for_the_end_cancels_nothing_else() -> None:
    pool = ConnectionPool()
    async with serving(Recorder()) as address:
        sender = await open_lane(address, pool)
        waiting = [asyncio.create_task(sender.closed()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert sender.offer("still", 20, None)
        sender.end()
        await waiting[1]
        assert sender.fault is None
        await pool.close()


async def break_a_write_that_has_begun(sender: GrpcSender) -> None:
    """Ends a lane's call and its writer before the writer knows of the write that `offer` has begun."""
    await until(lambda: bool(sender._work.waiters))  # the writer is idle
    assert sender.offer("x" * MIB, MIB, None)  # more than the peer takes at once
    assert sender._begun is not None
    writing = sender._begun._future
    sender.cut()
    sender._tasks[0].cancel()  # as the reader does, if it sees the end of the call first
    await asyncio.wait([*sender._tasks, writing])


async def test_a_write_that_breaks_with_its_call_before_the_writer_runs_is_no_error_of_the_event_loop() -> None:
    pool, errors = ConnectionPool(), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
    async with serving(Recorder()) as address:
        await break_a_write_that_has_begun(await open_lane(address, pool))
        gc.collect()
        await pool.close()
    assert not errors


@pytest.mark.conformance("LANE-10", "LANE-18")
async def test_a_run_that_is_cancelled_while_its_lanes_open_is_free_within_a_second() -> None:
    host = NodeHost([SERVICE], name="here")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        wire = Wire()
        place = node_pb2.Place(run_id="run", protocol_version=PROTOCOL_VERSION)
        place.instances.add(component="producer", provider="puppet", config_json="{}")
        place.edges.append(edge_of(wire, f"127.0.0.1:{mute.getsockname()[1]}"))
        conversation = HereConversation(host)
        conversation.begin()
        await conversation.say(node_pb2.HostRequest(place=place))
        await conversation.answer("placed")
        await conversation.say(node_pb2.HostRequest(connect=node_pb2.Connect()))
        await asyncio.sleep(0.05)  # some way into opening
        async with asyncio.timeout(1):
            await conversation.close()
        assert not host.runs
        assert not any(host.pool._streams.values())
    await host.close()


@pytest.mark.conformance("LANE-18")
@pytest.mark.parametrize("moment", [0.0, 0.001, 0.005, 0.02])
async def test_an_open_may_be_aborted_at_any_moment(moment: float) -> None:
    pool = ConnectionPool()
    for recorder in (Recorder(), Recorder(answers=False)):
        async with serving(recorder) as address:
            sender = GrpcSender(edge_of(Wire(), address), "run", pool)
            opening = asyncio.create_task(sender.open())
            await asyncio.sleep(moment)
            async with asyncio.timeout(1):
                await sender.abort(GONE)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await sender.closed()
    await pool.close()


@pytest.mark.conformance("LANE-09")
async def test_one_failing_consumer_of_two_fails_the_producer_and_so_the_other(lanes: Rig) -> None:
    async with lanes.run(Wire(), Wire(consumer="consumer_b")) as run:
        emitting = run.producer.begin(acts.emit_then_raise)
        received = run.hand("consumer_b").begin(acts.take_until_fault)
        await run.consumer.act(acts.take, 100)
        await run.consumer.act(acts.fail)
        with pytest.raises(LaneFault):
            await emitting
        taken, fault = await received
        assert taken == [str(number) for number in range(len(taken))]
        assert "the node's own fault" in fault.message
        assert fault.secondary
        await run.hand("consumer_b").act(acts.leave)
        primary = [fault for fault in await run.finished() if not fault.secondary]
        assert [fault.details["component"] for fault in primary] == ["consumer"]
