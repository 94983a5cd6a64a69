"""Node servers with a configured address: found, lost, found again, and never listed twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lanemesh import Context, In, Node, Out
from lanemesh.client.client import Client
from lanemesh.faults import LanemeshError
from lanemesh.node.node import Service
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.v1 import registry_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.registry import polled_servers
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_services.text import SERVICE

from rigs.ports import free_port

SERVING = registry_pb2.SERVER_HEALTH_SERVING
DRAINING = registry_pb2.SERVER_HEALTH_DRAINING
UNREACHABLE = registry_pb2.SERVER_HEALTH_UNREACHABLE


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is looked at a hundred times as often."""
    monkeypatch.setattr(polled_servers, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(polled_servers, "RETRY_SECONDS", (0.02, 0.1))
    monkeypatch.setattr(polled_servers, "RESOLVE_SECONDS", 0.1)


@asynccontextmanager
async def orchestrating(*servers: str) -> AsyncIterator[Orchestrator]:
    orchestrator = Orchestrator(embedded=False, servers=servers)
    await orchestrator.listen()
    yield orchestrator
    await orchestrator.close()


@asynccontextmanager
async def serving(*, bind: str = "127.0.0.1", port: int = 0, orchestrator: str = "") -> AsyncIterator[NodeServer]:
    host = NodeHost([Service("text", SERVICE.nodes)], name="text")
    server = NodeServer(host, bind=bind, port=port, orchestrator=orchestrator)
    await server.start()
    yield server
    await server.stop()


async def until(registry: Registry, holds: Callable[[list[registry_pb2.NodeServer]], object]) -> None:
    """Waits for what the registry lists."""
    async with asyncio.timeout(10):
        while not holds(registry.servers()):
            await registry.changes.wait_at_most(0.1)


async def test_a_server_is_found_without_joining() -> None:
    async with serving() as server, orchestrating(server.address) as orchestrator:
        await until(orchestrator.registry, lambda found: [each.health for each in found] == [SERVING])
        (listed,) = orchestrator.registry.servers()
        assert (listed.info.name, listed.info.address, listed.static) == (server.address, server.address, True)
        assert "upper_case" in listed.providers
        assert "upper_case" in orchestrator.runs.manifests()


class Refuse(Node):
    """Fails at any text."""

    text: In[str]
    passed: Out[str]

    async def process(self, context: Context) -> None:
        raise ValueError(self.text)


async def test_faults_of_a_server_have_the_name_by_which_the_mesh_knows_it() -> None:
    server = NodeServer(NodeHost([Service("refusing", [Refuse])], name="its own name"))
    await server.start()
    refuse = {"id": "r", "provider": "refuse", "input": [{"lane": "text", "from": "chat"}]}
    out = {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "r"}]}
    async with orchestrating(server.address) as orchestrator:
        await until(orchestrator.registry, lambda found: [each.health for each in found] == [SERVING])
        async with Client(orchestrator.address) as client:
            document = {"components": [{"id": "chat", "provider": "chat"}, refuse, out]}
            result = await client.run(document, input="x").result()
    assert result.error is not None
    assert result.error.details["server"] == server.address
    await server.stop()


async def test_one_that_is_not_there_is_listed_with_the_reason_and_found_when_it_is() -> None:
    port = free_port()
    async with orchestrating(f"127.0.0.1:{port}") as orchestrator:
        registry = orchestrator.registry
        await until(registry, lambda found: [each.health for each in found] == [UNREACHABLE])
        assert str(port) in registry.servers()[0].health_detail
        with pytest.raises(LanemeshError, match="no node server runs it"):
            registry.choose("upper_case")
        async with serving(port=port):
            await until(registry, lambda found: [each.health for each in found] == [SERVING])
            assert registry.choose("upper_case").info.address == f"127.0.0.1:{port}"
        await until(registry, lambda found: [each.health for each in found] == [UNREACHABLE])
        with pytest.raises(LanemeshError, match=f"127.0.0.1:{port} cannot be reached"):
            registry.choose("upper_case")
        async with serving(port=port):
            await until(registry, lambda found: [each.health for each in found] == [SERVING])


async def test_one_that_drains_is_listed_so_and_takes_nothing() -> None:
    async with serving() as server, orchestrating(server.address) as orchestrator:
        registry = orchestrator.registry
        await until(registry, lambda found: [each.health for each in found] == [SERVING])
        await server.drain()
        await until(registry, lambda found: [each.health for each in found] == [DRAINING])
        with pytest.raises(LanemeshError, match="is draining"):
            registry.choose("upper_case")


async def test_one_that_joins_as_well_is_one_member() -> None:
    port = free_port()
    async with orchestrating(f"localhost:{port}") as orchestrator:
        registry = orchestrator.registry
        await until(registry, lambda found: [each.static for each in found] == [True])
        async with serving(port=port, orchestrator=orchestrator.address):
            await until(registry, lambda found: [each.static for each in found] == [False])
            assert list(registry.members) == ["text"]
        await until(registry, lambda found: [each.health for each in found] == [UNREACHABLE])


async def test_a_name_stands_for_the_servers_at_all_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    port, addresses = free_port(), ["127.0.0.1", "127.0.0.2"]
    real = socket.getaddrinfo

    asked = 0

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        nonlocal asked
        if host != "mesh.test":
            return real(host, *rest, **more)
        asked += 1
        if not addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    one, two = f"127.0.0.1:{port}", f"127.0.0.2:{port}"
    async with serving(port=port), serving(bind="127.0.0.2", port=port):
        async with orchestrating(f"dns:///mesh.test:{port}") as orchestrator:
            registry = orchestrator.registry
            healthy = {one: SERVING, two: SERVING}
            await until(registry, lambda found: {each.info.address: each.health for each in found} == healthy)
            addresses.pop()
            await until(registry, lambda found: [each.info.address for each in found] == [one])
            addresses.clear()  # who is known stays: a name server may be away for a while
            before = asked
            await until(registry, lambda _: asked >= before + 3)
            assert list(registry.members) == [one]
        async with orchestrating(f"dns:///mesh.test:{port}") as orchestrator:
            await until(orchestrator.registry, lambda found: [each.health for each in found] == [UNREACHABLE])
            (listed,) = orchestrator.registry.servers()
            assert listed.info.address == f"dns:///mesh.test:{port}"
            assert "cannot be resolved (Name or service not known)" in listed.health_detail
            addresses.append("127.0.0.1")
            await until(orchestrator.registry, lambda found: [each.info.address for each in found] == [one])


async def test_a_name_that_no_name_server_can_know_is_listed_with_the_reason() -> None:
    async with orchestrating("dns:///mesh..test:7071") as orchestrator:
        await until(orchestrator.registry, lambda found: [each.health for each in found] == [UNREACHABLE])
        (listed,) = orchestrator.registry.servers()
        assert "cannot be resolved (it is not a DNS name" in listed.health_detail


@pytest.mark.parametrize(
    "wrong", ["here", "host:0", "dns:name:1", "unix:/socket", "dns:///name", "http://name:80", "vsock:1:2", "h\0:1"]
)
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(LanemeshError, match="is not an address"):
        Orchestrator(embedded=False, servers=[wrong])
