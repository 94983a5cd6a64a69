"""What it costs a run to tell how it goes."""

from __future__ import annotations

import asyncio
import time
from math import inf

from lanemesh import Client
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.server.host.reporting import EDGE_UPDATE_SECONDS
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from running.pipelines import NODES, line

ITEMS = 100_000
"""Items of a run."""

_RUN = line(("run_source", {"items": ITEMS}), ("run_pass", {}), ("run_count", {}))


async def rounds(number: int) -> tuple[list[float], list[float]]:
    """Seconds of runs that tell nothing of their edges to nobody, and of runs that tell all ten times a second and are watched.

    One after the other in turns. All in one process, so that whatever updates cost counts.
    """
    silent: list[float] = []
    told: list[float] = []
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as owner, Client(orchestrator.address) as watcher:
            for index in range(-2, 2 * number):  # the first two are the warm-up
                tells = index % 2 == 1
                orchestrator.host.edge_update_seconds = EDGE_UPDATE_SECONDS if tells else inf
                seconds = await _timed(owner, watcher if tells else None)
                if index >= 0:
                    (told if tells else silent).append(seconds)
    finally:
        await orchestrator.close()
    return silent, told


async def _timed(owner: Client, watcher: Client | None) -> float:
    watching: asyncio.Task[None] | None = None
    began = time.perf_counter()
    run = owner.run(_RUN, input="go")
    async with run:
        async for update in wire_updates(run):
            kind = update.WhichOneof("kind")
            if kind == "job" and update.job.state == update_pb2.RUN_STATE_RUNNING:
                began = time.perf_counter()
                if watcher is not None:
                    watching = asyncio.create_task(_watch(watcher, run), name="watcher")
    seconds = time.perf_counter() - began
    if watching is not None:
        await watching
    return seconds


async def _watch(watcher: Client, run: Run) -> None:
    async for _ in wire_updates(watcher.attach(run.id)):
        pass
