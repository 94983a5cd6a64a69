"""Servers: the address is checked before anything listens, health follows the state."""

from __future__ import annotations

import asyncio
import gc
import socket

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lanemesh._grpc.connections import is_loopback
from lanemesh._grpc.server import GrpcServer
from lanemesh.faults import LanemeshError

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def health(address: str, service: str = "") -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status)


async def test_a_port_in_use_is_reported() -> None:
    first = GrpcServer()
    await first.start([])
    with pytest.raises(LanemeshError, match=f"cannot listen on 127.0.0.1:{first.port}: the port is in use") as caught:
        GrpcServer(port=first.port)
    assert caught.value.fault.reason == "port-in-use"
    await first.stop(0)


async def test_a_port_that_another_program_uses_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LanemeshError, match="the port is in use"):
            GrpcServer(port=taken.getsockname()[1])


@pytest.mark.conformance("SRV-04")
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "mesh.example"])
async def test_an_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(LanemeshError, match="nothing here is encrypted or authenticated") as caught:
        GrpcServer(host)
    assert caught.value.fault.reason == "insecure"


@pytest.mark.conformance("SRV-04")
async def test_unless_insecure_is_set() -> None:
    server = GrpcServer("0.0.0.0", insecure=True)
    await server.start([])
    assert await health(f"127.0.0.1:{server.port}") == SERVING
    await server.stop(0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_what_is_loopback(host: str) -> None:
    assert is_loopback(host)


async def test_an_address_of_another_machine_is_reported() -> None:
    with pytest.raises(LanemeshError, match=r"cannot listen on 192\.0\.2\.1:0"):
        GrpcServer("192.0.2.1", insecure=True)


async def test_health_turns_with_the_state() -> None:
    server = GrpcServer()
    await server.start(["lanemesh.v1.NodeService"])
    assert await health(server.address) == await health(server.address, "lanemesh.v1.NodeService") == SERVING
    await server.not_serving()
    assert await health(server.address) == await health(server.address, "lanemesh.v1.NodeService") == NOT_SERVING
    await server.stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(server.address)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_start_that_is_cancelled_reports_no_error(caplog: pytest.LogCaptureFixture) -> None:
    server = GrpcServer()
    starting = asyncio.create_task(server.start([]))
    asyncio.get_running_loop().call_soon(starting.cancel)  # when it has begun
    with pytest.raises(asyncio.CancelledError):
        await starting
    del server, starting
    for _ in range(3):
        gc.collect()  # gRPC stops a server that is collected, and asyncio reports the error of a task that is
        await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == []
