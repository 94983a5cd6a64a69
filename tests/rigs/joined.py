"""Orchestrators and node servers in this process, joined over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from lanemesh import Client, Deployed
from lanemesh.features import FEATURES
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.replicas import RECOVERY_NODES
from rigs.runs import NODES, Pipeline, at, line, node

TAGS = line(node("a", "tag", "chat"), node("b", "tag", "a"))
APART = line(at("left", node("a", "tag", "chat")), at("right", node("b", "tag", "a")))
"""A chain over two node servers."""


async def serve(
    orchestrator: Orchestrator, name: str, *, features: Collection[str] = FEATURES, port: int = 0
) -> NodeServer:
    """A node server in this process that has joined."""
    host = NodeHost([load_file(NODES), load_file(RECOVERY_NODES)], name=name, labels={"name": name})
    host.features = features
    server = NodeServer(host, port=port, orchestrator=orchestrator.address)
    await server.start()
    assert server.registration is not None
    await server.registration.joined.wait()
    return server


@asynccontextmanager
async def mesh_of(
    *names: str, features: Collection[str] = FEATURES
) -> AsyncIterator[tuple[Orchestrator, Client, list[NodeServer]]]:
    """An orchestrator, a client of it, and node servers of these names; the last one has these features."""
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    servers: list[NodeServer] = []
    try:
        async with Client(orchestrator.address) as client:
            for name in names:
                servers.append(await serve(orchestrator, name, features=features if name == names[-1] else FEATURES))
            yield orchestrator, client, servers
    finally:
        for server in servers:
            await server.stop()
        await orchestrator.close()


async def ends(client: Client, document: Pipeline | Deployed, text: str = "x") -> tuple[str, tuple[object, ...]]:
    result = await client.run(document, input=text).result()
    return str(result.state), result.values
