"""The row `messages alone`: the frames of a deployed run, between as many processes, with nothing of Lanemesh that makes them.

The frames are recorded from real runs first. Then processes of `delivery.player` and this one send and receive the same frames of
the same sizes, on the same calls, in an order that the run permits. What they cost is what a run costs at least in Python with this
protocol.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from lanemesh import Deployed
from lanemesh.v1 import run_pb2, update_pb2

from chain.processes import serving
from chain.systems import WrongResult
from chain.work import Work
from delivery.frames import Scripts, read, usual, whole
from delivery.player import Player
from delivery.recorder import recorded
from delivery.served import STAGES, placed_chain, served

CLIENT = "client"
ORCHESTRATOR = "orchestrator"
RECORDED = 20
"""Runs that are recorded; the usual one is used."""
SETTLE_S = 0.05
"""How long after the end of a run its last frames may come."""


async def record(work: Work) -> Scripts:
    """The frames of a deployed run of the chain, of the client, the orchestrator and the three node servers.

    Raises:
        WrongResult: a frame was not recorded at both of its ends.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with recorded(folder / CLIENT):
            async with served(store=False, recordings=folder) as mesh:
                names = {server.address: server.name for server in await mesh.client.node_servers()}
                names[mesh.address] = ORCHESTRATOR
                await mesh.client.deploy("recorded", placed_chain(work))
                spans = [await _run(mesh.client) for _ in range(2 * RECORDED)][RECORDED:]
        frames = {process: read(folder / process, names) for process in (CLIENT, ORCHESTRATOR, *STAGES)}
    runs = [
        {
            process: [each for each in of_process if began <= each.at_ns < ended]
            for process, of_process in frames.items()
        }
        for began, ended in spans
    ]
    found = usual(runs)
    if not whole(found):
        raise WrongResult("the recording of a run lacks an end of one of its frames")
    return found


async def _run(client: Any) -> tuple[int, int]:
    """Runs the deployment once. Returns the span of its frames."""
    began = time.monotonic_ns()
    async with aclosing(client.run(Deployed("recorded"), input="go").values()) as outputs:
        async for _ in outputs:
            pass
    await asyncio.sleep(SETTLE_S)
    return began, time.monotonic_ns()


class Client:
    """The client of a mesh that only sends and receives."""

    def __init__(self, player: Player) -> None:
        self._player = player

    async def start(self) -> tuple[float, float, int]:
        """One run. Returns when it was seen as running, when its first item came, and the number of its items."""
        running = first = 0.0
        taken = 0
        part = self._player.begin()
        call = part.links["Run", ORCHESTRATOR] = self._player.call("Run", ORCHESTRATOR)
        await part.proceed()
        while isinstance(response := await call.read(), run_pb2.RunResponse):
            if not running and any(each.job.state == update_pb2.RUN_STATE_RUNNING for each in response.updates):
                running = time.perf_counter()
            if items := sum(len(each.texts) for each in response.text_outputs):
                first, taken = first or time.perf_counter(), taken + items
            await part.arrive(("Run", ORCHESTRATOR))
            if part.over.is_set():
                await call.done_writing()
        self._player.end(part)
        return running, first, taken


@asynccontextmanager
async def playing(scripts: Scripts) -> AsyncIterator[Client]:
    """The processes that play the scripts, and the client in this one; leaving ends them."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes: dict[str, asyncio.subprocess.Process] = {}
        addresses: dict[str, str] = {}
        for name in scripts.keys() - {CLIENT}:
            (folder / name).write_text("\n".join(frame.to_json() for frame in scripts[name]))
            processes[name], addresses[name] = await stack.enter_async_context(
                serving("delivery.player", folder / name)
            )
        for process in processes.values():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(addresses).encode() + b"\n")
            await asyncio.wait_for(process.stdout.readline(), timeout=30)
        player = Player(scripts[CLIENT], {ORCHESTRATOR: addresses[ORCHESTRATOR]})
        stack.push_async_callback(player.close)
        yield Client(player)
