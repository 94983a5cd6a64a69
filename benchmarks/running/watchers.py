"""What it costs a run to be watched by many. `python -m running.watchers ADDRESS COUNT` is the process of the watchers."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lanemesh import Client
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from running.pipelines import NODES, line

ITEMS = 400_000
"""Items of a run."""
WATCHERS = 50
"""Watchers of it."""

_RUN = line(("run_source", {"items": ITEMS}), ("run_pass", {}), ("run_count", {}))


async def rounds(number: int) -> tuple[list[float], list[float]]:
    """Seconds of runs that nobody watches, and of runs that 50 clients elsewhere watch from their start, in turns."""
    alone: list[float] = []
    watched: list[float] = []
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    gc.collect()
    gc.freeze()  # as `lanemesh serve` does
    try:
        async with Client(orchestrator.address) as owner, _watchers(orchestrator.address) as watchers:
            for index in range(-2, 2 * number):  # the first two are the warm-up
                is_watched = index % 2 == 1
                seconds = await _timed(owner, watchers if is_watched else None)
                if index >= 0:
                    (watched if is_watched else alone).append(seconds)
    finally:
        await orchestrator.close()
        gc.unfreeze()
    return alone, watched


async def _timed(owner: Client, watchers: asyncio.subprocess.Process | None) -> float:
    began = time.perf_counter()
    async with owner.run(_RUN, input="go") as run:
        async for update in wire_updates(run):
            if update.job.state == update_pb2.RUN_STATE_RUNNING:
                began = time.perf_counter()
                if watchers is not None:
                    assert watchers.stdin is not None
                    watchers.stdin.write(f"{run.id}\n".encode())
    seconds = time.perf_counter() - began
    if watchers is not None:
        assert watchers.stdout is not None
        seen = (await watchers.stdout.readline()).decode().split()
        if seen != [str(update_pb2.RUN_STATE_COMPLETED)] * WATCHERS:
            raise RuntimeError(f"the watchers saw the states {seen}")
    return seconds


@asynccontextmanager
async def _watchers(address: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "running.watchers", address, str(WATCHERS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def _watch(address: str, count: int) -> None:
    """Watches the runs whose ids come on standard input, and prints the last state that each watcher has seen."""
    loop = asyncio.get_running_loop()

    async def one(client: Client, run_id: str) -> int:
        state = 0
        async for update in wire_updates(client.attach(run_id)):
            state = update.job.state or state
        return state

    async with Client(address) as client:
        while run_id := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            print(*await asyncio.gather(*(one(client, run_id) for _ in range(count))), flush=True)


if __name__ == "__main__":
    asyncio.run(_watch(sys.argv[1], int(sys.argv[2])))
