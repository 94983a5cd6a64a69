"""Runs of a deployed pipeline one after the other while node servers are killed at random, and what must not come of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from lanemesh import Client, Deployed

from rigs import footprint, unended
from rigs.replicas import Replicas, replicas
from rigs.runs import line, node

SERVERS = ("a", "b", "c")
CLIENTS = 6
"""Runs at a time."""
LINE = line(node("c", "steady", "chat"), node("d", "steady", "c"))
"""Both components can be placed again."""
LONGEST_SECONDS = 20.0
"""How long a run may take that loses its servers; one that takes longer waits for what does not come. The time limits by which the
mesh would end such a wait are longer."""
RESTART_SECONDS = 60.0
"""How long the restart of the killed servers may take on a busy machine."""
QUIET = 0.5
"""The share of kills after which all runs end before the next one: that would end the wait of a run that hangs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run has ended."""

    inputs: tuple[str, ...]
    """Its inputs, no two of which are the same in all runs."""
    state: str
    """Empty if it has not ended in time."""
    values: tuple[object, ...]
    error: str
    """Its error; what the orchestrator knew of it if it has not ended in time."""

    @property
    def fault(self) -> str:
        """What is wrong with it, in a sentence; empty if nothing."""
        if not self.state:
            return f"the run of {self.inputs[0]} has not ended within {LONGEST_SECONDS:g} s: {self.error}"
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
    """Runs a deployed pipeline so many times, 6 at a time, and kills and restarts node servers meanwhile. Raises ExceptionGroup if
    the servers could not be killed or restarted."""
    async with replicas(*SERVERS) as mesh, Client(mesh.orchestrator.address) as client:
        await client.deploy("steady", LINE)
        load = _Load(mesh, client, runs, dice)
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(_kill(mesh, load, dice))
            await load.run()
            killing.cancel()
        left = await _left(mesh)
        return Hunt(load.outcomes, mesh.kills, left)


class _Load:
    """The runs, and how they end."""

    def __init__(self, mesh: Replicas, client: Client, runs: int, dice: Random) -> None:
        self.outcomes: list[Outcome] = []
        self._mesh = mesh
        self._client = client
        self._numbers = iter(range(runs))
        self._dice = dice
        self._going: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Makes all runs."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._run_some())

    async def present_ended(self) -> None:
        """Waits until the present runs have ended."""
        if self._going:
            await asyncio.wait(set(self._going))

    async def _run_some(self) -> None:
        for number in self._numbers:
            inputs = tuple(f"{number}.{item}" for item in range(self._dice.randint(1, 8)))
            running = asyncio.create_task(self._run(inputs))
            self._going.add(running)
            running.add_done_callback(self._going.discard)
            await running

    async def _run(self, inputs: tuple[str, ...]) -> None:
        ending = asyncio.create_task(self._client.run(Deployed("steady"), inputs=inputs).result())
        try:
            await asyncio.wait([ending], timeout=LONGEST_SECONDS)
            if ending.done():
                result = ending.result()
                outcome = Outcome(inputs, str(result.state), result.values, str(result.error or ""))
            else:
                outcome = Outcome(inputs, "", (), await unended.report(self._mesh.orchestrator))
            self.outcomes.append(outcome)
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)


async def _kill(mesh: Replicas, load: _Load, dice: Random) -> None:
    """Kills a random node server, now and then two, at a random moment, until it is cancelled."""
    while True:
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        for name in dice.sample(SERVERS, k=dice.choice((1, 1, 1, 2))):
            mesh.kill(name)
        if dice.random() < QUIET:
            await load.present_ended()
        async with asyncio.timeout(RESTART_SECONDS):
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
