"""The rigs of runs whose node servers are killed: a hang, and a fault of the rig itself, must be reported."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
from random import Random

import pytest
from lanemesh.v1 import update_pb2

from rigs import unended
from rigs.forked import ForkedProcess, forked_server
from rigs.joined import APART, mesh_of
from rigs.killed_servers import hunt
from rigs.replicas import Replicas
from rigs.runs import until


async def server_that_has_ended_unseen() -> ForkedProcess:
    """A killed process whose exit code has come, and which the event loop has not read."""
    process = await forked_server()
    os.kill(process.pid, signal.SIGKILL)
    assert select.select([process.descriptor], [], [], 30)[0]
    return process


async def test_the_end_of_a_process_is_seen_by_whichever_reads_it_first() -> None:
    process = await server_that_has_ended_unseen()
    with pytest.raises(ProcessLookupError):
        process.kill()
    async with asyncio.timeout(5):
        assert await process.wait() == -signal.SIGKILL


async def test_an_error_of_what_kills_node_servers_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Replicas, *names: str) -> None:
        raise OSError(f"no process is left of {', '.join(names)}")

    monkeypatch.setattr(Replicas, "have", broken)
    with pytest.raises(ExceptionGroup) as raised:
        await hunt(1_000, Random(1))
    assert raised.group_contains(OSError, match="no process is left of a, b, c")


async def test_a_run_that_does_not_end_is_reported_with_its_hosts_and_waits() -> None:
    async with mesh_of("left", "right") as (orchestrator, client, servers):
        run = await client.start(APART, input="x", open_input=True)
        await until(lambda: orchestrator.runs.get(run.id).state == update_pb2.RUN_STATE_RUNNING)
        report = await unended.report(orchestrator)
        await run.end_input()
        await run.result()
    assert f"  left is {os.getpid()} at {servers[0].address} with 1 components" in report
    assert f"{run.id}: RUN_STATE_RUNNING, without an end of a, b, chat, out" in report
    assert re.search(r"  right, part 0 with b: placed, started; silent for [0-9.]+ s, its stream is new\n", report)
    assert f"  {run.id} waits in ActiveRun.execute" in report
