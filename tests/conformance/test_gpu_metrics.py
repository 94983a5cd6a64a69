"""The arbiter's metrics for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.gpu.metrics import MetricsServer

from rigs.gpu import Place, entered, place


@pytest.fixture
async def here() -> AsyncIterator[Place]:
    async with place("embedded") as made:
        yield made


@pytest.fixture
async def address(here: Place) -> AsyncIterator[str]:
    server = MetricsServer(here.arbiter.metrics)
    yield await server.start("127.0.0.1", 0)
    await server.stop()


async def ask(address: str, request: str = "GET /metrics HTTP/1.1") -> tuple[str, str]:
    """The first line and the body of the response."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{request}\r\nHost: {address}\r\n\r\n".encode())
    response = (await reader.read()).decode()
    writer.close()
    head, _, body = response.partition("\r\n\r\n")
    return head.splitlines()[0], body


async def test_metrics_show_memory_leases_models_and_decisions(here: Place, address: str) -> None:
    client = here.client("a")
    async with client.lease(memory="300MiB", peak="400MiB", model="m") as lease:
        await lease.keep(lambda: "m")
        async with client.lease(memory="200MiB"):
            waiting = asyncio.create_task(entered(here.client("b").lease()))
            while not here.arbiter.status()[0].waiting:
                await here.arbiter.changed.wait()
            status, text = await ask(address)
    await waiting
    assert status == "HTTP/1.1 200 OK"
    lines = text.splitlines()
    for line in (
        f'lanemesh_gpu_capacity_bytes{{device="sim:0"}} {2**30}',
        f'lanemesh_gpu_memory_bytes{{device="sim:0",use="models"}} {300 * 2**20}',
        f'lanemesh_gpu_memory_bytes{{device="sim:0",use="leased"}} {300 * 2**20}',
        'lanemesh_gpu_leases{device="sim:0",state="held"} 2',
        'lanemesh_gpu_models{device="sim:0"} 1',
        "lanemesh_gpu_waiting_requests 1",
        'lanemesh_gpu_grants_total{device="sim:0"} 2',
        "# TYPE lanemesh_gpu_grants_total counter",
    ):
        assert line in lines
    _, after = await ask(address)
    assert 'lanemesh_gpu_leases_ended_total{reason="released"} 2' in after.splitlines()
    assert 'lanemesh_gpu_unloads_total{device="sim:0"} 0' not in after


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET / HTTP/1.1", "404 Not Found"), ("POST /metrics HTTP/1.1", "405 Method Not Allowed")],
)
async def test_other_requests_are_refused(address: str, request_line: str, status: str) -> None:
    assert (await ask(address, request_line))[0] == f"HTTP/1.1 {status}"


async def test_a_port_in_use_is_named(here: Place, address: str) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(LanemeshError, match=rf"cannot be served at 127.0.0.1:{port}"):
        await MetricsServer(here.arbiter.metrics).start("127.0.0.1", port)
