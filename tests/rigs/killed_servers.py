"""Runs of a deployed pipeline one after the other while node servers are killed at random, and what must not come of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from lanemesh import Client, Deployed

from rigs import footprint
from rigs.replicas import Replicas, replicas
from rigs.runs import line, node

SERVERS = ("a", "b", "c")
CLIENTS = 6
"""Runs at a time."""
LINE = line(node("c", "steady", "chat"), node("d", "steady", "c"))
"""Both components can be placed again."""
LONGEST_SECONDS = 60.0
"""How long a run may take that loses its servers; one that takes longer hangs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run has ended."""

    inputs: tuple[str, ...]
    """Its inputs, no two of which are the same in all runs."""
    state: str
    """Empty if it has not ended in time."""
    values: tuple[object, ...]
    error: str

    @property
    def fault(self) -> str:
        """What is wrong with it, in a sentence; empty if nothing."""
        if not self.state:
            return f"the run of {self.inputs[0]} has not ended within {LONGEST_SECONDS:g} s"
        if strange := [value for value in self.values if value not in self.inputs]:
            return f"the run of {self.inputs[0]} got what it has not sent: {strange}"
        if self.state == "completed":
            seen = tuple(dict.fromkeys(self.values))  # items that a lost server had not acknowledged arrive again
            return "" if seen == self.inputs else f"the run of {self.inputs} completed with {self.values}"
        lost_server = self.state == "failed" and "is gone" in self.error
        return "" if lost_server else f"the run of {self.inputs[0]} is {self.state}: {self.error}"


@dataclass(frozen=True, slots=True)
class Hunt:
    """The outcomes of all runs, and what was done to the servers."""

    outcomes: list[Outcome]
    kills: int
    left: str
    """What the runs have left behind; empty if nothing."""

    @property
    def completed(self) -> int:
        """The number of runs that completed."""
        return sum(outcome.state == "completed" for outcome in self.outcomes)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be, each in a sentence."""
        found = [outcome.fault for outcome in self.outcomes if outcome.fault]
        return [*found, self.left] if self.left else found


async def hunt(runs: int, dice: Random) -> Hunt:
    """Runs a deployed pipeline so many times, 6 at a time, and kills and restarts node servers meanwhile."""
    outcomes: list[Outcome] = []
    async with replicas(*SERVERS) as mesh, Client(mesh.orchestrator.address) as client:
        await client.deploy("steady", LINE)
        numbers = iter(range(runs))
        clients = [asyncio.create_task(_run_all(client, numbers, dice, outcomes)) for _ in range(CLIENTS)]
        killing = asyncio.create_task(_kill(mesh, dice))
        try:
            await asyncio.gather(*clients)
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        left = await _left(mesh)
        return Hunt(outcomes, mesh.kills, left)


async def _run_all(client: Client, numbers: Iterator[int], dice: Random, outcomes: list[Outcome]) -> None:
    for number in numbers:
        inputs = tuple(f"{number}.{item}" for item in range(dice.randint(1, 8)))
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                result = await client.run(Deployed("steady"), inputs=inputs).result()
        except TimeoutError:
            outcomes.append(Outcome(inputs, "", (), ""))
        else:
            outcomes.append(Outcome(inputs, str(result.state), result.values, str(result.error or "")))


async def _kill(mesh: Replicas, dice: Random) -> None:
    """Kills a random node server, now and then two, at a random moment, until it is cancelled."""
    while True:
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        for name in dice.sample(SERVERS, k=dice.choice((1, 1, 1, 2))):
            mesh.kill(name)
        await mesh.have(*SERVERS)


async def _left(mesh: Replicas) -> str:
    """What ended runs have left in this process or on node servers; empty if nothing."""
    registry, runs = mesh.orchestrator.registry, mesh.orchestrator.runs
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + footprint.WAIT_SECONDS
    while True:
        left = [*footprint.tasks_of_runs(), *runs.of_deployments()]
        left += [
            f"{one.active_instances} instances on {one.info.name}" for one in registry.servers() if one.active_instances
        ]
        if not left or loop.time() > ends_at:
            return f"ended runs have left {left}" if left else ""
        await asyncio.sleep(0.05)
