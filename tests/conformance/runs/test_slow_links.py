"""Starts of runs over connections that delay every byte: how many round trips they take, by those of the same connections."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import grpc.aio
import pytest
from lanemesh import Client, Deployed
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.lane_proxies import LongWire, free_port
from rigs.runs import NODES, at, line, node

DELAY = 0.02
"""Seconds by which each byte is late, in either direction."""
ROUNDS = 9
"""How often each time is measured, with and without the delay in turn."""
SPARE = 0.5
"""Round trips that a busy machine may add."""

APART = line(at("left", node("a", "tag", "chat")), at("right", node("b", "tag", "a")))


@dataclass(frozen=True, slots=True)
class Mesh:
    """An orchestrator and two node servers, between which every byte may be late."""

    client: Client
    """Its connection is a long wire as well."""
    to_orchestrator: LongWire
    to_servers: list[LongWire]

    async def round_trips(self, act: Callable[[], Awaitable[float]], wires: list[LongWire]) -> float:
        """How many round trips of these wires an act takes: by how much they delay it, divided by how much they delay a call."""
        await act()  # opens the connections
        with_delay: list[float] = []
        without: list[float] = []
        call_with_delay: list[float] = []
        call_without: list[float] = []
        for _ in range(ROUNDS):
            for delay, times, calls in ((0.0, without, call_without), (DELAY, with_delay, call_with_delay)):
                for wire in wires:
                    wire.delay = delay
                times.append(await act())
                calls.append(await self._call(wires[0]))
        for wire in wires:
            wire.delay = 0.0
        call = median(call_with_delay) - median(call_without)
        assert call >= 2 * DELAY * 0.9
        return (median(with_delay) - median(without)) / call

    async def _call(self, wire: LongWire) -> float:
        """Seconds of an unary call over a connection that is open."""
        async with grpc.aio.insecure_channel(wire.address) as channel:
            call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            await call(b"", wait_for_ready=True)
            began = time.perf_counter()
            await call(b"")
            return time.perf_counter() - began


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(orchestrator.close)
        wires = [await stack.enter_async_context(_server(orchestrator, name)) for name in ("left", "right")]
        wire = await stack.enter_async_context(LongWire(orchestrator.address))
        client = await stack.enter_async_context(Client(wire.address))
        await client.deploy("tags", APART)
        yield Mesh(client, wire, wires)


@asynccontextmanager
async def _server(orchestrator: Orchestrator, name: str) -> AsyncIterator[LongWire]:
    """A node server that others dial over a long wire."""
    port = free_port()
    async with LongWire(f"127.0.0.1:{port}") as wire:
        host = NodeHost([load_file(NODES)], name=name, labels={"name": name})
        server = NodeServer(host, port=port, orchestrator=orchestrator.address, advertise=wire.address)
        await server.start()
        assert server.registration is not None
        await server.registration.joined.wait()
        yield wire
        await server.stop()


async def until_running(client: Client) -> float:
    """Seconds from the request of a run to the update by which its nodes run."""
    began = time.perf_counter()
    taken = 0.0
    async for update in wire_updates(client.run(Deployed("tags"), input="x")):
        if update.job.state == update_pb2.RUN_STATE_RUNNING and not taken:
            taken = time.perf_counter() - began
    assert taken
    return taken


async def start_before_first_item(client: Client) -> float:
    """Seconds that the first item of a run takes longer than a later one, which takes the same way over lanes that are open."""
    run: Run = client.run(Deployed("tags"), open_input=True)
    values = run.values()
    began = time.perf_counter()
    async with run:
        await run.push("x")
        await anext(values)
        first = time.perf_counter() - began
        began = time.perf_counter()
        await run.push("x")
        await anext(values)
        later = time.perf_counter() - began
        await run.end_input()
        assert [value async for value in values] == []
    return first - later


@pytest.mark.conformance("START-06")
@pytest.mark.timing
async def test_a_deployed_run_starts_in_one_round_trip_to_its_node_servers(mesh: Mesh) -> None:
    trips = await mesh.round_trips(lambda: until_running(mesh.client), mesh.to_servers)
    assert trips <= 1 + SPARE


@pytest.mark.conformance("START-06")
@pytest.mark.timing
async def test_a_deployed_run_starts_in_two_round_trips_if_its_client_is_far_as_well(mesh: Mesh) -> None:
    trips = await mesh.round_trips(lambda: until_running(mesh.client), [mesh.to_orchestrator, *mesh.to_servers])
    assert trips <= 2 + SPARE


@pytest.mark.conformance("START-06")
@pytest.mark.timing
async def test_the_first_item_of_a_deployed_run_waits_for_two_round_trips(mesh: Mesh) -> None:
    trips = await mesh.round_trips(
        lambda: start_before_first_item(mesh.client), [mesh.to_orchestrator, *mesh.to_servers]
    )
    assert trips <= 2 + SPARE
