"""Many runs at once over one mesh."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from lanemesh import Client
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from running.pipelines import line

RUNS = 200
"""Runs at once, each of five nodes: a chat, three in processes of their own, a response."""

_FIVE = line(("run_pass", {}), ("run_pass", {}), ("run_count", {}))


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """What became of them."""

    set_up_s: list[float]
    """From `StartRun` to its caller seeing the run as running, each."""
    whole_s: float
    """From the first start to the last end."""
    completed: int
    """Runs that ended well, with all their items."""


async def start_all(made: Mesh) -> Crowd:
    """Starts them all in one moment, by a client over gRPC, and waits for their ends."""
    set_up_s: list[float] = []

    async def one(client: Client) -> bool:
        began = time.perf_counter()
        run = await client.start(_FIVE, inputs=["x"] * 10)
        counted, state = "", update_pb2.RUN_STATE_UNSPECIFIED
        async for update in wire_updates(run):
            match update.WhichOneof("kind"):
                case "job":
                    state = update.job.state
                    if state == update_pb2.RUN_STATE_RUNNING:
                        set_up_s.append(time.perf_counter() - began)
                case "output":
                    counted = update.output.item.text or counted
        return state == update_pb2.RUN_STATE_COMPLETED and counted == "10"

    assert (await made.run(_FIVE, input="warm").result()).state == "completed"
    async with Client(made.orchestrator.address) as client:
        began = time.perf_counter()
        ended = await asyncio.gather(*(one(client) for _ in range(RUNS)))
        return Crowd(set_up_s=set_up_s, whole_s=time.perf_counter() - began, completed=sum(ended))
