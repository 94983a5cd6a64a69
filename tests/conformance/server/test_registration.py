"""Joining an orchestrator: again when it is back, and quietly gone when the server stops."""

from __future__ import annotations

import asyncio
import logging

import pytest
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh_orchestrator.orchestrator import Orchestrator


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
    await first.listen()
    assert first.grpc is not None
    port = first.grpc.port
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
