"""`lanemesh conformance`: our own node server passes every check, and wrong servers are caught."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh_orchestrator.cli.commands.conformance import nodes_path
from lanemesh_orchestrator.conformance.runner import Verdict, missed, run_checks


@asynccontextmanager
async def served() -> AsyncIterator[NodeServer]:
    """A node server with the node types of the test."""
    server = NodeServer(NodeHost([load_file(nodes_path())], name="tested"))
    await server.start()
    yield server
    await server.stop()


async def test_our_node_server_passes_every_check() -> None:
    async with served() as server:
        results = await run_checks(server.address, slow=False)
        assert not server.host.runs
    assert not missed(results), missed(results)
    skipped = [result.check.id for result in results if result.verdict is Verdict.SKIPPED]
    assert skipped == [result.check.id for result in results if result.check.slow]
