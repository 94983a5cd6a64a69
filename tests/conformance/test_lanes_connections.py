"""Lanes over gRPC whose other end dies, freezes, is cut off, or never answers; many at once; and idle ones."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from lanemesh.lanes import grpc_sender
from lanemesh.lanes.channels import ChannelPool
from lanemesh.lanes.faults import Code, Fault, LaneFault
from lanemesh.lanes.grpc_sender import GrpcSender

from conformance import lane_acts as acts
from conformance.lane_minute import IDLE_LIMIT
from conformance.lane_proxies import Cable, free_port
from conformance.lane_rig import Child, Rig, Running, Wire, edge_of, rig, standstill
from conformance.lane_wire import Recorder, serving

pytestmark = pytest.mark.timeout(30)

THITHER = Wire(producer="here_a", consumer="there_a")
HITHER = Wire(producer="there_b", consumer="here_b")


@asynccontextmanager
async def fragile(*, tidy: bool = True) -> AsyncIterator[tuple[Child, Rig]]:
    """A rig with a child process of its own, in which components live whose names begin with `there`."""
    child = Child()
    try:
        async with rig(child, there="there", tidy=tidy) as made:
            yield child, made
    finally:
        child.close()


def check_unavailable(fault: Fault | None, wire: Wire) -> None:
    """The fault says that the lane broke, and which."""
    assert fault is not None
    assert fault.code is Code.UNAVAILABLE, fault
    assert fault.secondary
    assert wire.id in fault.message


async def both_ends_see(run: Running) -> None:
    """Waits until a producer and a consumer here see that their lanes broke."""
    check_unavailable(await run.hand("here_a").look(acts.broken), THITHER)
    taken, fault = await run.hand("here_b").act(acts.take_until_fault)
    assert taken == ["before"]
    check_unavailable(fault, HITHER)


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
async def test_a_producer_that_waits_for_room_sees_its_consumers_death(text: str) -> None:
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
async def test_a_frozen_peer_and_a_cut_wire_are_seen_within_20_s() -> None:
    async def freeze() -> None:
        async with fragile(tidy=False) as (child, lanes), lanes.run(THITHER, HITHER) as run:
            await run.hand("there_b").act(acts.emit, "before")
            await run.hand("here_b").look(acts.arrived, 1)
            child.signal(signal.SIGSTOP)
            async with asyncio.timeout(20):
                await both_ends_see(run)

    async def cut(*, busy: bool) -> None:
        child = Child()
        try:
            async with (
                Cable(child.address) as cable,
                rig(child, address=cable.address, tidy=False) as lanes,
                lanes.run() as run,
            ):
                text = "x" * 100_000 if busy else "x"
                emitting = run.producer.begin(acts.emit_copies, text, 10_000 if busy else 1)
                await run.consumer.look(acts.arrived, 1)
                await standstill(run.producer, run.consumer)
                cable.cut()
                async with asyncio.timeout(20):
                    check_unavailable(await run.producer.look(acts.broken), run.wires[0])
                    taken, fault = await run.consumer.act(acts.take_until_fault)
                    check_unavailable(fault, run.wires[0])
                    assert taken
                await asyncio.wait([emitting])
                assert (emitting.exception() is not None) == busy
        finally:
            child.close()

    await asyncio.gather(freeze(), cut(busy=False), cut(busy=True))


# LANE-18


async def refused(sender: GrpcSender) -> Fault:
    """Opens a lane that will not open. Returns the fault; nothing is left of it."""
    with pytest.raises(LaneFault) as raised:
        await sender.open()
    await sender.closed()
    return raised.value.fault


@pytest.mark.conformance("LANE-18")
async def test_an_open_that_nobody_answers_fails_within_its_bound_naming_the_lane() -> None:
    assert grpc_sender.OPEN_SECONDS == 10
    pool = ChannelPool()
    async with serving(Recorder(answers=False)) as address:
        fault = await refused(GrpcSender(edge_of(Wire(), address), "run", pool, open_seconds=0.2))
        assert (fault.code, fault.reason) == (Code.DEADLINE_EXCEEDED, "lane-refused")
        assert Wire().id in fault.message
        assert "did not accept it within 0.2 s" in fault.message
        await pool.close()


@pytest.mark.conformance("LANE-18")
async def test_an_open_past_the_servers_limit_of_streams_fails_within_its_bound() -> None:
    pool = ChannelPool()
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
async def test_an_open_to_where_nobody_listens_or_speaks_fails_naming_the_lane() -> None:
    pool = ChannelPool()
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
@pytest.mark.timeout(110)
def test_a_lane_idle_for_a_minute_works_behind_a_proxy_with_an_idle_limit_of_30_s(
    minute: subprocess.Popen[str],
) -> None:
    assert minute.stdout is not None
    told = json.loads(minute.stdout.readline() or "null")
    assert told is not None, "the minute did not pass"
    assert IDLE_LIMIT - 1 < told["silent"]["seconds"] < 2 * IDLE_LIMIT  # silent streams are cut there
    assert told["silent"]["code"] != "OK"
    assert told["taken"] == ["before", "after"]
    assert told["taken_b"] == ["before", "after"]
    assert told["faults"] == []
