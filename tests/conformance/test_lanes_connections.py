"""Lanes over gRPC whose other end dies, freezes, is cut off, or never answers; many at once; and idle ones."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest
from lanemesh._grpc.connections import ConnectionPool
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.lanes.transport import grpc_sender
from lanemesh.lanes.transport.grpc_sender import GrpcSender

from rigs import lane_acts as acts
from rigs.beside import Beside
from rigs.lane_breaks import HITHER, THITHER, both_ends_see, check_unavailable, fragile
from rigs.lane_frames import Recorder, serving
from rigs.lane_minute import IDLE_LIMIT
from rigs.lanes import Rig, Wire, edge_of, standstill
from rigs.ports import free_port

pytestmark = pytest.mark.timeout(30)

# LANE-14


@pytest.mark.conformance("LANE-14")
async def test_a_killed_peer_is_seen_within_5_s() -> None:
    async with fragile() as (child, lanes), lanes.run(THITHER, HITHER) as run:
        await run.hand("there_b").act(acts.emit, "before")
        await run.hand("here_b").look(acts.arrived, 1)
        child.signal(signal.SIGKILL)
        async with asyncio.timeout(5):
            await both_ends_see(run)


@pytest.mark.conformance("LANE-14")
@pytest.mark.parametrize("text", ["x", "x" * 1024 * 1024], ids=["credit", "bytes"])
async def test_a_producer_that_waits_for_capacity_gets_the_loss_of_its_consumer(text: str) -> None:
    async with fragile() as (child, lanes), lanes.run(THITHER) as run:
        emitting = run.hand("here_a").begin(acts.emit_copies, text, 10_000)
        await run.hand("there_a").look(acts.arrived, 1)
        await standstill(run.hand("here_a"), run.hand("there_a"))
        child.signal(signal.SIGKILL)
        with pytest.raises(LaneFault) as raised:
            async with asyncio.timeout(5):
                await emitting
        check_unavailable(raised.value.fault, THITHER)


@pytest.mark.conformance("LANE-14")
@pytest.mark.waits
@pytest.mark.timeout(60)
def test_a_frozen_peer_and_a_cut_wire_are_seen_within_20_s(frozen: Beside) -> None:
    assert frozen.told() == {"seen": 3}


# LANE-18


async def refused(sender: GrpcSender) -> Fault:
    """Opens a lane that will not open. Returns the fault; nothing is left of it."""
    with pytest.raises(LaneFault) as raised:
        await sender.open()
    await sender.closed()
    return raised.value.fault


@pytest.mark.conformance("LANE-18")
async def test_an_unanswered_open_fails_within_its_bound_naming_the_lane() -> None:
    assert grpc_sender.OPEN_SECONDS == 10
    pool = ConnectionPool()
    async with serving(Recorder(answers=False)) as address:
        fault = await refused(GrpcSender(edge_of(Wire(), address), "run", pool, open_seconds=0.2))
        assert (fault.code, fault.reason) == (Code.DEADLINE_EXCEEDED, "lane-refused")
        assert Wire().id in fault.message
        assert "did not accept it within 0.2 s" in fault.message
        await pool.close()


@pytest.mark.conformance("LANE-18")
async def test_an_open_past_the_servers_limit_of_streams_fails_within_its_bound() -> None:
    pool = ConnectionPool()
    async with serving(Recorder(), max_concurrent_streams=1) as address:
        first = GrpcSender(edge_of(Wire(), address), "run", pool)
        await first.open()
        second = Wire(consumer="consumer_b")
        fault = await refused(GrpcSender(edge_of(second, address), "run", pool, open_seconds=0.2))
        assert fault.code is Code.DEADLINE_EXCEEDED
        assert second.id in fault.message
        assert first.fault is None
        first.end()
        await first.closed()
        await pool.close()


@pytest.mark.conformance("LANE-18")
async def test_an_open_to_a_closed_or_silent_port_fails_naming_the_lane() -> None:
    pool = ConnectionPool()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        addresses = (f"127.0.0.1:{free_port()}", f"127.0.0.1:{mute.getsockname()[1]}")
        for address in addresses:
            fault = await refused(GrpcSender(edge_of(Wire(), address), "run", pool, open_seconds=0.2))
            assert fault.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
            assert Wire().id in fault.message
            assert address in fault.message
        await pool.close()


@pytest.mark.conformance("LANE-18")
async def test_200_lanes_between_two_servers_all_open_and_work(between: Rig) -> None:
    wires = [Wire(producer=f"producer_{number}", consumer=f"consumer_{number}") for number in range(200)]
    async with between.run(*wires) as run:
        producers = [run.hand(wire.producer) for wire in wires]
        consumers = [run.hand(wire.consumer) for wire in wires]
        received = [hand.begin(acts.take_all) for hand in consumers]
        await asyncio.gather(*(hand.act(acts.emit, hand.component) for hand in producers))
        await asyncio.gather(*(hand.act(acts.leave) for hand in producers))
        assert await asyncio.gather(*received) == [[hand.component] for hand in producers]
        await asyncio.gather(*(hand.act(acts.leave) for hand in consumers))
        assert await run.finished() == []


@pytest.mark.conformance("LANE-18")
@pytest.mark.waits
@pytest.mark.timeout(110)
def test_a_lane_idle_for_a_minute_works_behind_a_proxy_with_an_idle_limit_of_30_s(minute: Beside) -> None:
    told = minute.told()
    assert IDLE_LIMIT - 1 < told["silent"]["seconds"] < 2 * IDLE_LIMIT  # silent streams are cut there
    assert told["silent"]["code"] != "OK"
    assert told["taken"] == ["before", "after"]
    assert told["taken_b"] == ["before", "after"]
    assert told["faults"] == []
