"""Starts of runs of five nodes on three servers: one after the other, and 50 and 200 at once, beside bare grpc.aio streams and
beside the messages of a run alone."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

import grpc
from lanemesh import Client, Deployed, JobUpdate, OutputUpdate, RunState

from chain.bare import bare_chain
from chain.bare_stage import open_chain
from chain.systems import WrongResult, percentile
from chain.work import Work
from delivery import messages
from delivery.frames import Scripts, counts
from delivery.served import placed_chain, served
from delivery.throughput import cpu_s

AT_ONCE = (1, 50, 200)
"""How many runs are started in one moment."""
IN_A_ROW = 40
"""Runs of a round that are started one after the other."""
CALLERS = 20
"""Callers that each start a run as soon as their last one has ended, when starts a second are counted."""
RUNS_OF_A_CALLER = 10
FIRST = 10
"""The first so many of the runs that are started at once have a target of their own."""
WORK = Work(items=3, every=1)
NAME = "starts"


@dataclass(frozen=True, kw_only=True)
class Start:
    """One run, in ms from its start by the client."""

    running_ms: float
    """To the client seeing it as running; 0 for bare streams, which have no such state."""
    first_ms: float
    """To its first item at the client's program."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """So many runs at once of one system; medians of the rounds."""

    system: str
    at_once: int
    running_p50_ms: float
    running_p99_ms: float
    running_tenth_ms: float
    """To the tenth run being seen as running; to the last one of fewer."""
    first_p50_ms: float
    first_p99_ms: float
    first_ratio: float
    """Of the p50 of first items to that of bare streams in the same round."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Runs that are started and ended in a second; medians of the rounds."""

    system: str
    runs_per_s: float
    cpu_ms_per_run: float
    """CPU time of a run, of all processes together."""


class Starter(Protocol):
    """Starts runs of one system."""

    name: str

    async def start(self) -> Start:
        """Starts a run and reads it to its end."""


class Bare:
    """The chain as bidirectional grpc.aio streams through three processes."""

    name = "bare"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def start(self) -> Start:
        """Opens the streams through all stages, sends the input, and reads to the end."""
        began, first, taken = time.perf_counter(), 0.0, 0
        async for _ in open_chain(self._channel, WORK):
            first = first or time.perf_counter()
            taken += 1
        if taken != WORK.items:
            raise WrongResult(f"a bare stream delivered {taken} of {WORK.items} items")
        return Start(running_ms=0.0, first_ms=(first - began) * 1e3)


class Messages:
    """The frames of a deployed run of the chain, with nothing else."""

    name = "messages alone"

    def __init__(self, client: messages.Client) -> None:
        self._client = client

    async def start(self) -> Start:
        """Sends and receives the frames of one run."""
        began = time.perf_counter()
        running, first, taken = await self._client.start()
        if taken != WORK.items:
            raise WrongResult(f"the frames of a run had {taken} of {WORK.items} items")
        return Start(running_ms=(running - began) * 1e3, first_ms=(first - began) * 1e3)


class Mesh:
    """The chain on a served mesh."""

    def __init__(self, name: str, client: Client, pipeline: Any) -> None:
        self.name = name
        self._client = client
        self._pipeline = pipeline

    async def start(self) -> Start:
        """Starts a run and reads all its updates."""
        began, running, first, taken = time.perf_counter(), 0.0, 0.0, 0
        run = self._client.run(self._pipeline, input="go")
        async with aclosing(run.updates()) as updates:
            async for update in updates:
                match update:
                    case JobUpdate(state=RunState.RUNNING):
                        running = time.perf_counter()
                    case OutputUpdate():
                        first = first or time.perf_counter()
                        taken += 1
        if run.state != "completed" or taken != WORK.items:
            raise WrongResult(f"a run is {run.state} with {taken} of {WORK.items} items: {run.reason}")
        return Start(running_ms=(running - began) * 1e3, first_ms=(first - began) * 1e3)


@asynccontextmanager
async def starters(scripts: Scripts) -> AsyncIterator[list[Starter]]:
    """Bare streams first, then the messages of a deployed run alone, runs of a deployed pipeline, without and with a store, and of
    one that is not deployed."""
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(bare_chain())
        alone = await stack.enter_async_context(messages.playing(scripts))
        plain = await stack.enter_async_context(served(store=False))
        stored = await stack.enter_async_context(served(store=True))
        for mesh in (plain, stored):
            await mesh.client.deploy(NAME, placed_chain(WORK))
        yield [
            Bare(channel),
            Messages(alone),
            Mesh("deployed", plain.client, Deployed(NAME)),
            Mesh("deployed, store", stored.client, Deployed(NAME)),
            Mesh("not deployed", plain.client, placed_chain(WORK)),
        ]


async def measure(rounds: int, most_at_once: int, progress: Callable[[str], None]) -> tuple[list[Row], list[Rate]]:
    """All rows; no more than so many runs are started at once."""
    found: defaultdict[tuple[int, str], list[Sequence[Start]]] = defaultdict(list)
    rates: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    progress("recording the frames of runs")
    scripts = await messages.record(WORK)
    of_methods = ", ".join(f"{number} of {method}" for method, number in counts(scripts).items())
    progress(f"a deployed run has {sum(counts(scripts).values())} frames: {of_methods}")
    progress("starting the meshes")
    async with starters(scripts) as systems:
        for system in systems:
            await _burst(system, 20)
            await _in_a_row(system, 10)
        gc.freeze()  # as the commands do when they have begun
        for number in range(1, rounds + 1):
            for at_once in (each for each in AT_ONCE if each <= most_at_once):
                progress(f"round {number} of {rounds}: {at_once} at once")
                for system in systems:
                    starts = _in_a_row(system, IN_A_ROW) if at_once == 1 else _burst(system, at_once)
                    found[at_once, system.name].append(await starts)
            progress(f"round {number} of {rounds}: starts a second")
            for system in systems:
                rates[system.name].append(await _rate(system))
    bare = systems[0].name
    rows = [row(name, at_once, of_rounds, found[at_once, bare]) for (at_once, name), of_rounds in found.items()]
    return rows, [
        Rate(
            system=name,
            runs_per_s=median(rate for rate, _ in of_rounds),
            cpu_ms_per_run=median(ms for _, ms in of_rounds),
        )
        for name, of_rounds in rates.items()
    ]


def row(name: str, at_once: int, of_rounds: Sequence[Sequence[Start]], bare: Sequence[Sequence[Start]]) -> Row:
    """The row of a system from its rounds and those of the bare streams."""
    running = [sorted(start.running_ms for start in starts) for starts in of_rounds]
    first = [[start.first_ms for start in starts] for starts in of_rounds]
    peer = [percentile([start.first_ms for start in starts], 0.5) for starts in bare]
    return Row(
        system=name,
        at_once=at_once,
        running_p50_ms=median(percentile(each, 0.5) for each in running),
        running_p99_ms=median(percentile(each, 0.99) for each in running),
        running_tenth_ms=median(each[:FIRST][-1] for each in running),
        first_p50_ms=median(percentile(each, 0.5) for each in first),
        first_p99_ms=median(percentile(each, 0.99) for each in first),
        first_ratio=median(percentile(own, 0.5) / of_peer for own, of_peer in zip(first, peer, strict=True)),
    )


async def _in_a_row(system: Starter, runs: int) -> list[Start]:
    return [await system.start() for _ in range(runs)]


async def _burst(system: Starter, at_once: int) -> list[Start]:
    return await asyncio.gather(*(system.start() for _ in range(at_once)))


async def _rate(system: Starter) -> tuple[float, float]:
    """Runs a second, and CPU milliseconds of a run."""
    cpu, began = cpu_s(), time.perf_counter()
    await asyncio.gather(*(_in_a_row(system, RUNS_OF_A_CALLER) for _ in range(CALLERS)))
    runs = CALLERS * RUNS_OF_A_CALLER
    return runs / (time.perf_counter() - began), (cpu_s() - cpu) / runs * 1e3
