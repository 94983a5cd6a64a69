"""Runs one after the other over one warm mesh: how long a start takes, and whether anything is left of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
from lanemesh import Client
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from running.pipelines import line

_FIVE = line(("run_pass", {}), ("run_pass", {}), ("run_count", {}))


class Failed(Exception):
    """A run did not end well, so that its times mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One run of five nodes: a chat, three in processes of their own, a response."""

    running_ms: float
    """From `StartRun` to its caller seeing the run as running: every instance is placed, every lane open."""
    whole_ms: float
    """From `StartRun` to its end."""


async def starts(made: Mesh, count: int) -> list[Start]:
    """So many runs, by a client over gRPC, after one that starts the processes."""
    found: list[Start] = []
    await made.run(_FIVE, input="x").result()
    async with Client(made.orchestrator.address) as client:
        for _ in range(count):
            began = time.perf_counter()
            running = 0.0
            run = await client.start(_FIVE, input="x")
            async for update in wire_updates(run):
                if update.job.state == update_pb2.RUN_STATE_RUNNING:
                    running = time.perf_counter()
            if run.state != "completed":
                raise Failed(f"a run ended as {run.state}")
            found.append(Start(running_ms=(running - began) * 1e3, whole_ms=(time.perf_counter() - began) * 1e3))
    return found


async def growth_mb(made: Mesh, runs: int, warm_up: int) -> float:
    """How much the orchestrator's process, which is also the client's, grows over so many runs after a warm-up, in MB of 10^6
    bytes that are its own (USS)."""
    await starts(made, warm_up)
    before = psutil.Process().memory_full_info().uss
    await starts(made, runs)
    return float(psutil.Process().memory_full_info().uss - before) / 1e6
