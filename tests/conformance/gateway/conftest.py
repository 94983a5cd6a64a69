"""Gateways for the tests of this folder: of a mesh in this process, and of an orchestrator elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from lanemesh import Client
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.orchestrator import Orchestrator

from endings import end, lasting
from rigs.gateways import gateway
from rigs.runs import FIRING_NODES, NODES, RIGS

UNLIMITED = GatewayOptions(rate=1_000_000.0, max_requests=5_000, max_requests_per_token=5_000)
"""The options of gateways that many tests share."""


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def mesh() -> AsyncIterator[Mesh]:
    """A mesh in this process."""
    nodes = [NODES, FIRING_NODES, RIGS / "approval_nodes.py", RIGS / "secret_nodes.py"]
    async with lasting("the mesh", Mesh(nodes=nodes)) as mesh:
        yield mesh


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def serving() -> AsyncIterator[Orchestrator]:
    """An orchestrator that clients reach; its nodes run in this process."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    yield orchestrator
    await end("the orchestrator", orchestrator.close())


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def embedded(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway to a mesh in its process."""
    async with lasting("the gateway", gateway(mesh, UNLIMITED)) as client:
        yield client


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def remote(serving: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway to an orchestrator elsewhere."""
    async with (
        lasting("the client", Client(serving.address)) as client,
        lasting("the gateway", gateway(client, UNLIMITED)) as web,
    ):
        yield web


@pytest.fixture(params=["embedded", "remote"])
def web(request: pytest.FixtureRequest) -> httpx.AsyncClient:
    """A client of either."""
    found: httpx.AsyncClient = request.getfixturevalue(request.param)
    return found
