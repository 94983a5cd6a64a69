"""`python -m chaos`: a mesh under load whose servers are killed, frozen, drained and started again at random.

Afterwards every run has to have ended, for its client and in history, and history has to have every output that a client saw.

Then a deployed pipeline is run 1,000 times while node servers are killed: every run has to end right, without an item of another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from lanemesh import Client
from lanemesh.faults import LanemeshError

from chaos.load import Load, remembered
from chaos.seen import HANG_SECONDS, Remembered, Seen, faults_of
from rigs.cluster import Cluster, Process
from rigs.killed_servers import hunt

CLIENTS = 6
"""Clients at once."""
UP_SECONDS = 60.0
"""How long the mesh may take to be there, at first and in the end."""
SHOWN = 10
"""Most faults that are shown."""


class Chaos:
    """What is done to a mesh, at random. It has a quiet second or two after each blow, so that there is something to hit."""

    def __init__(self, cluster: Cluster, dice: random.Random) -> None:
        self.done: Counter[str] = Counter()
        """How often each thing was done."""
        self._cluster = cluster
        self._dice = dice

    async def go_on(self, seconds: float) -> None:
        """Does harm for so many seconds, and then puts all right again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(self._dice.uniform(0.5, 2.5))
            await self._one()
        await self._cluster.start()

    async def _one(self) -> None:
        server = self._dice.choice(self._cluster.servers)
        match self._dice.choices(("kill", "freeze", "freeze long", "drain", "orchestrator"), (6, 3, 1, 2, 2))[0]:
            case "kill":
                await self._killed("server killed", server)
            case "freeze":
                await self._frozen("server frozen for a moment", server, self._dice.uniform(0.1, 3.0))
            case "freeze long":
                await self._frozen("server frozen until it is given up", server, 25.0)
            case "drain":
                self.done["server drained"] += 1
                await server.end()
                await server.start()
            case "orchestrator" if self._dice.random() < 0.7:
                await self._killed("orchestrator killed", self._cluster.orchestrator)
            case "orchestrator":
                await self._frozen("orchestrator frozen for a moment", self._cluster.orchestrator, 2.0)

    async def _killed(self, what: str, process: Process) -> None:
        self.done[what] += 1
        await process.kill()
        await asyncio.sleep(self._dice.uniform(0.0, 2.0))
        await process.start()

    async def _frozen(self, what: str, process: Process, seconds: float) -> None:
        self.done[what] += 1
        process.freeze()
        await asyncio.sleep(seconds)
        process.thaw()


async def is_up(address: str) -> bool:
    """Whether the orchestrator answers and all node servers have joined it."""
    with contextlib.suppress(LanemeshError):
        async with Client(address) as client:
            return len(await client.node_servers()) >= 4
    return False


async def until_up(cluster: Cluster) -> None:
    """Waits until the mesh is there."""
    async with asyncio.timeout(UP_SECONDS):
        while not await is_up(cluster.address):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.2)


async def history_of(address: str, seen: list[Seen]) -> dict[str, Remembered]:
    """What history has of these runs."""
    kept: dict[str, Remembered] = {}
    async with Client(address) as client:
        for run in seen:
            if run.run_id:
                found = await remembered(client, run.run_id)
                if found is not None:
                    kept[run.run_id] = found
    return kept


async def play(seconds: float, seed: int, folder: Path) -> list[str]:
    """Plays one chaos run. Returns what must not have been."""
    dice = random.Random(seed)
    cluster = Cluster(folder)
    load = Load(cluster.address, random.Random(seed + 1))
    chaos = Chaos(cluster, dice)
    clients: list[asyncio.Task[None]] = []
    try:
        await cluster.start()
        await until_up(cluster)
        clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
        await chaos.go_on(seconds)
        load.stop()
        await asyncio.wait(clients, timeout=HANG_SECONDS + 30.0)
        await until_up(cluster)
        history = await history_of(cluster.address, load.seen)
    except TimeoutError:
        logs = "\n".join(f"--- {process.name}\n{process.log()}" for process in cluster.processes)
        return [f"the mesh was not there again {UP_SECONDS:g} s after the last harm\n{logs}"]
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await cluster.close()
    say(f"    done to it: {told(chaos.done)}")
    say(f"    {len(load.seen)} runs: {told(Counter(run.end or 'without an end' for run in load.seen))}")
    say(f"    in history: {told(Counter(kept.state for kept in history.values()))}")
    return faults_of(load.seen, history)


async def play_deployed(runs: int, seed: int) -> list[str]:
    """Runs a deployed pipeline so many times while node servers are killed. Returns what must not have been."""
    found = await hunt(runs, random.Random(seed))
    states = Counter(outcome.state or "without an end" for outcome in found.outcomes)
    say(f"    {len(found.outcomes)} runs of a deployed pipeline, {found.kills} servers killed: {told(states)}")
    return found.faults


def told(counted: Counter[str]) -> str:
    """Counts in words."""
    return ", ".join(f"{count} {what}" for what, count in counted.most_common()) or "nothing"


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def main() -> int:
    """Plays what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long harm is done (%(default)g)")
    parser.add_argument(
        "--deployed", type=int, default=1_000, help="how often a deployed pipeline is run (%(default)d)"
    )
    parser.add_argument("--seed", type=int, help="of all that is random; unless given: any")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    say(f"    seed {seed}, {options.seconds:g} s, {CLIENTS} clients")
    with tempfile.TemporaryDirectory() as folder:
        faults = asyncio.run(play(options.seconds, seed, Path(folder))) if options.seconds > 0 else []
    if options.deployed > 0:
        faults += asyncio.run(play_deployed(options.deployed, seed))
    for fault in faults[:SHOWN]:
        say(f"FAILED {fault}")
    if len(faults) > SHOWN:
        say(f"FAILED and {len(faults) - SHOWN} more")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
