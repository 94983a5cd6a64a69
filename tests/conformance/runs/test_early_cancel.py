"""Runs that are cancelled before they have started, wherever they run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lanemesh.client.results import RunFailed
from lanemesh.client.run_host import RunHost
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator import Mesh

from rigs.runs import NODES, line, lines, node

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.conformance("RUN-07")
async def test_a_run_that_is_cancelled_before_it_starts_never_does(host: RunHost, journal: Path) -> None:
    run = host.run(line(node("a", "tag", "chat", journal=str(journal))), input="x", open_input=True)
    await run.cancel("enough")
    result = await run.result()
    assert (result.state, result.reason, result.values) == ("cancelled", "enough", ())
    await run.cancel("again")  # changes nothing
    with pytest.raises(RunFailed, match="cancelled: enough"):
        await anext(run.values())
    with pytest.raises(LanemeshError, match="cancelled before it started"):
        await run.push("y")
    await run.end_input()
    assert lines(journal) == []


async def test_a_run_that_is_cancelled_while_it_starts_ends_cancelled(host: RunHost) -> None:
    run = host.run(line(node("a", "tag", "chat")), input="x", open_input=True)  # it does not end by itself
    starting = asyncio.create_task(run.start())
    await asyncio.sleep(0)
    await run.cancel("enough")
    result = await run.result()
    await starting
    assert (result.state, result.reason) == ("cancelled", "enough")


async def test_a_run_that_is_cancelled_while_its_processes_start_ends_cancelled() -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        run = mesh.run(line(node("a", "tag", "chat")), input="x")
        starting = asyncio.create_task(run.start())
        await asyncio.sleep(0)
        await run.cancel("enough")
        result = await run.result()
        await starting
    assert (result.state, result.reason) == ("cancelled", "enough")
