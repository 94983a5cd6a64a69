"""Meshes for the tests of runs: embedded, spread over processes, and reached by a client.

They live as long as the tests of this folder run, and no longer: their event loop stands still while others do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from lanemesh import Client
from lanemesh.client.run_host import RunHost
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from endings import end, lasting
from rigs.runs import FIRING_NODES, GROUPING_NODES, JOINING_NODES, NODES, chat, node, pipeline, response


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def spread() -> AsyncIterator[Mesh]:
    """A mesh with a process per component: "a", "b" and "c" are up already."""
    async with lasting(
        "the spread mesh", Mesh("component", nodes=[NODES, FIRING_NODES, GROUPING_NODES, JOINING_NODES])
    ) as mesh:
        warm = pipeline(chat(), *(node(name, "tag", "chat") for name in "abc"), response("a", "b", "c"))
        assert (await mesh.run(warm, input="x").result()).values == ("x", "x", "x")
        yield mesh


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def embedded() -> AsyncIterator[Mesh]:
    """A mesh in this process."""
    async with lasting("the embedded mesh", Mesh(nodes=[NODES, FIRING_NODES, GROUPING_NODES, JOINING_NODES])) as mesh:
        yield mesh


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def serving() -> AsyncIterator[Orchestrator]:
    """An orchestrator that clients reach; its nodes run in this process."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    yield orchestrator
    await end("the orchestrator", orchestrator.close())


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def client(serving: Orchestrator) -> AsyncIterator[Client]:
    """A client of `serving`."""
    async with lasting("the client", Client(serving.address)) as client:
        yield client


@pytest.fixture(params=["embedded", "spread"])
def mesh(request: pytest.FixtureRequest) -> Mesh:
    """Both kinds of mesh: memory lanes, and gRPC lanes between processes."""
    found: Mesh = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["embedded", "spread", "client"])
def host(request: pytest.FixtureRequest) -> RunHost:
    """Whatever runs pipelines."""
    found: RunHost = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A file that nodes write into, wherever they run."""
    path = tmp_path / "journal"
    path.touch()
    return path
