"""Joining an orchestrator: again when it is back, and quietly gone when the server stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import pytest
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.v1 import registry_pb2
from lanemesh.v1.registry_pb2_grpc import RegistryServiceStub
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.registry.registry import Registry

from rigs.ports import free_port
from rigs.registration_log import Lines, registration_log

SERVING, UNREACHABLE = registry_pb2.SERVER_HEALTH_SERVING, registry_pb2.SERVER_HEALTH_UNREACHABLE


async def test_a_server_joins_and_leaves_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    orchestrator = Orchestrator(embedded=False, gpu_arbiter="gpu.example:7")
    await orchestrator.listen()
    server = NodeServer(NodeHost([], name="n"), orchestrator=orchestrator.address)
    with caplog.at_level(logging.WARNING):
        await server.start()
        assert server.registration is not None
        await asyncio.wait_for(server.registration.joined.wait(), 5)
        assert server.host.gpu_arbiter == "gpu.example:7"
        stopping = asyncio.gather(server.stop(), orchestrator.close())
        await asyncio.wait_for(stopping, 10)
    assert not caplog.records


async def test_a_server_joins_again_when_the_orchestrator_is_back(caplog: pytest.LogCaptureFixture) -> None:
    first = Orchestrator(embedded=False)
    port = free_port()
    await first.listen(port=port)
    server = NodeServer(NodeHost([], name="n"), orchestrator=first.address)
    await server.start()
    assert server.registration is not None
    await asyncio.wait_for(server.registration.joined.wait(), 5)
    await first.close()
    second = Orchestrator(embedded=False)
    await second.listen(port=port)
    async with asyncio.timeout(10):
        while "n" not in second.registry.members:
            await second.registry.changes.wait_at_most(0.1)
    assert any("lost the orchestrator" in record.message for record in caplog.records)
    await server.stop()
    await second.close()


async def test_two_servers_of_one_name_get_two() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    servers = [NodeServer(NodeHost([], name="n"), orchestrator=orchestrator.address) for _ in range(2)]
    for server in servers:
        await server.start()
        assert server.registration is not None
        await asyncio.wait_for(server.registration.joined.wait(), 5)
    assert [server.host.name for server in servers] == ["n", "n-2"]
    for server in servers:
        await server.stop()
    async with asyncio.timeout(5):
        while orchestrator.registry.members:
            await orchestrator.registry.changes.wait_at_most(0.1)
    await orchestrator.close()


async def until(registry: Registry, holds: Callable[[list[registry_pb2.NodeServer]], object]) -> None:
    """Waits for what the registry lists."""
    async with asyncio.timeout(20):
        while not holds(registry.servers()):
            await registry.changes.wait_at_most(0.1)


@pytest.mark.parametrize("alias", ["127.0.0.1", "localhost"])
async def test_a_server_that_gives_the_address_of_another_one_is_not_used(alias: str) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    registry = orchestrator.registry
    right = NodeServer(NodeHost([], name="right"), orchestrator=orchestrator.address)
    await right.start()
    await until(registry, lambda found: [each.info.name for each in found] == ["right"])
    with registration_log() as lines:
        await _clash(orchestrator, right, f"{alias}:{right.grpc.port}", lines)
    await right.stop()
    await orchestrator.close()


async def _clash(orchestrator: Orchestrator, right: NodeServer, advertise: str, lines: Lines) -> None:
    registry = orchestrator.registry
    wrong = NodeServer(NodeHost([], name="wrong"), orchestrator=orchestrator.address, advertise=advertise)
    await wrong.start()
    health = {"right": SERVING, "wrong": UNREACHABLE}
    await until(registry, lambda found: {each.info.name: each.health for each in found} == health)
    await lines.until(
        f'the orchestrator at {orchestrator.address}: this server is not used: its address is that of the server "right"',
        f'the orchestrator at {orchestrator.address}: the server "wrong" ({wrong.address}',
    )
    await wrong.stop()
    await until(registry, lambda found: [(each.info.name, each.health) for each in found] == [("right", SERVING)])
    assert list(registry.members) == ["right"]


async def test_a_server_that_gives_the_address_of_the_orchestrator_is_refused() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    server = NodeServer(NodeHost([], name="wrong"), orchestrator=orchestrator.address, advertise=orchestrator.address)
    with registration_log() as lines:
        await server.start()
        await lines.until(
            f'the address {orchestrator.address}, which the server "wrong" gives, leads to another process'
        )
    assert not orchestrator.registry.servers()
    await server.stop()
    await orchestrator.close()


@pytest.mark.parametrize("address", ["", "nonsense", "unix:{path}", "dns:///x:1", "h\0:1", f"{'x' * 300}:1"])
async def test_a_server_with_an_invalid_address_is_refused_before_it_is_dialled(address: str, tmp_path: Path) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    dialled = asyncio.Event()
    path = tmp_path / "socket"
    listener = await asyncio.start_unix_server(lambda *_: dialled.set(), path)
    info = registry_pb2.ServerInfo(name="n", address=address.format(path=path), instance_id="1")
    async with grpc.aio.insecure_channel(orchestrator.address) as channel:
        stream = RegistryServiceStub(channel).Register()
        await stream.write(registry_pb2.RegisterRequest(server=info))
        with pytest.raises(grpc.aio.AioRpcError, match="is not an address: write HOST:PORT") as raised:
            await stream.read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not orchestrator.registry.servers()
    assert not dialled.is_set()
    listener.close()
    await orchestrator.close()


async def test_a_server_that_joins_again_with_another_address_is_one_member() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    registry = orchestrator.registry
    async with grpc.aio.insecure_channel(orchestrator.address) as channel:
        streams = []
        for address in ("127.0.0.1:1", "localhost:1"):
            stream = RegistryServiceStub(channel).Register()
            info = registry_pb2.ServerInfo(name="n", address=address, instance_id="1")
            await stream.write(registry_pb2.RegisterRequest(server=info))
            streams.append(stream)
            await until(registry, lambda found, address=address: address in {each.info.address for each in found})  # type: ignore[misc]
        assert [(each.info.name, each.info.address) for each in registry.servers()] == [("n", "localhost:1")]
    await orchestrator.close()


@pytest.mark.waits
async def test_a_server_is_used_at_its_old_address_before_its_old_stream_has_ended() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    registry = orchestrator.registry
    server = NodeServer(NodeHost([], name="n"), orchestrator=orchestrator.address)
    async with grpc.aio.insecure_channel(orchestrator.address) as channel:
        old = RegistryServiceStub(channel).Register()
        info = registry_pb2.ServerInfo(name="n", address=server.address, pid=1, instance_id="frozen")
        await old.write(registry_pb2.RegisterRequest(server=info))
        await until(registry, lambda found: len(found) == 1)
        await server.start()
        await until(registry, lambda found: len(found) == 2)
        assert registry.members["n"].info.instance_id == server.host.instance_id
        old.cancel()
        await until(registry, lambda found: [each.info.instance_id for each in found] == [server.host.instance_id])
    await server.stop()
    await orchestrator.close()


async def test_of_two_streams_with_an_unreachable_address_the_survivor_is_used() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    registry = orchestrator.registry
    async with grpc.aio.insecure_channel(orchestrator.address) as channel:
        streams = []
        for name in ("one", "two"):
            stream = RegistryServiceStub(channel).Register()
            await stream.write(
                registry_pb2.RegisterRequest(server=registry_pb2.ServerInfo(name=name, address="127.0.0.1:1"))
            )
            streams.append(stream)
            await until(registry, lambda found, name=name: name in {each.info.name for each in found})  # type: ignore[misc]
        assert list(registry.members) == ["two"]
        streams[1].cancel()
        await until(registry, lambda found: [(each.info.name, each.health) for each in found] == [("one", SERVING)])
        assert list(registry.members) == ["one"]
    await orchestrator.close()


async def test_servers_that_listen_on_all_addresses_are_as_many_members() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen("0.0.0.0", insecure=True)
    assert not orchestrator.address.startswith("0.0.0.0")
    joined = f"127.0.0.1:{orchestrator.address.rpartition(':')[2]}"
    servers = [NodeServer(NodeHost([], name="n"), bind="0.0.0.0", insecure=True, orchestrator=joined) for _ in range(3)]
    for server in servers:
        await server.start()
    await until(orchestrator.registry, lambda found: len(found) == 3)
    addresses = {member.info.address for member in orchestrator.registry.members.values()}
    assert addresses == {f"127.0.0.1:{server.grpc.port}" for server in servers}
    for server in servers:
        await server.stop()
    await orchestrator.close()
