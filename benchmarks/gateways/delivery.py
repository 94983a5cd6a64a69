"""What clients of the gateway get, beside what clients over gRPC and over a bare relay get from the same mesh."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from chain.systems import WrongResult, percentile
from chain.work import Work
from delivery.served import placed_chain
from gateways.served import Front, Grpc, Sse, Web, relay

FIRST = "first"
"""The deployment whose first outputs are timed."""
MANY = "many"
"""The deployment that many clients run at once."""
FIRST_WORK = Work(items=3, every=1)
STREAMS = 100
"""Runs at once."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way by which clients run a pipeline."""

    front: str
    first_p50_ms: float
    first_p99_ms: float
    later_ms: float
    """By how much its first output is later than that of the gRPC client right before or after it; the median."""
    between_cpu_ms: float | None
    """CPU time of a run of the process between the client and the orchestrator; None: there is none."""
    items_per_s: float | None
    """Of all streams together, the median of the rounds; None: not measured."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The rows, and how SSE compares with the gRPC client in the same rounds."""

    rows: Sequence[Row]
    first_later_ms: float
    """By how much the first output is later, the median."""
    share: float
    """The items a second as a share of those of the gRPC client, the median."""


async def measure(web: Web, rounds: int, runs: int, items: int, progress: Callable[[str], None]) -> Found:
    """All ways, one right after the other, and each of them first as often as the others.

    Args:
        web: the mesh and the gateway.
        rounds: how often all are measured.
        runs: runs of a round whose first output is timed.
        items: outputs of each of the runs at once.
        progress: gets a line per round.
    """
    many = Work(items=items, every=1)
    await web.client.deploy(FIRST, placed_chain(FIRST_WORK))
    await web.client.deploy(MANY, placed_chain(many))
    grpc, sse = Grpc(web.client), Sse(web.events, web.gateway)
    firsts: defaultdict[str, list[float]] = defaultdict(list)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    cpu_ms: defaultdict[str, float] = defaultdict(float)
    async with relay(web.address) as bare:
        fronts: list[Front] = [grpc, sse, bare]
        for front in fronts:
            for _ in range(10):
                await first_ms(front)
        for front in (grpc, sse):
            await rate(front, items)
        gc.freeze()  # as the commands do when they have begun
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}: first outputs, then {STREAMS} streams")
            before = {front.name: _cpu_ms(front) for front in fronts}
            for turn in range(runs):
                for front in (*fronts[turn % 3 :], *fronts[: turn % 3]):
                    firsts[front.name].append(await first_ms(front))
            for front in fronts:
                cpu_ms[front.name] += _cpu_ms(front) - before[front.name]
            for front in (grpc, sse):
                rates[front.name].append(await rate(front, items))
    later = {name: _later_ms(of_name, firsts[grpc.name]) for name, of_name in firsts.items()}
    return Found(
        rows=[
            Row(
                front=front.name,
                first_p50_ms=percentile(firsts[front.name], 0.5),
                first_p99_ms=percentile(firsts[front.name], 0.99),
                later_ms=later[front.name],
                between_cpu_ms=cpu_ms[front.name] / (rounds * runs) if front.between is not None else None,
                items_per_s=median(rates[front.name]) if front.name in rates else None,
            )
            for front in fronts
        ],
        first_later_ms=later[sse.name],
        share=median(own / peer for own, peer in zip(rates[sse.name], rates[grpc.name], strict=True)),
    )


def _later_ms(own: Sequence[float], peer: Sequence[float]) -> float:
    return median(one - other for one, other in zip(own, peer, strict=True))


def _cpu_ms(front: Front) -> float:
    """CPU time so far of the process between the client and the orchestrator, in ms."""
    if front.between is None:
        return 0.0
    times = front.between.cpu_times()
    return (times.user + times.system) * 1e3


async def first_ms(front: Front) -> float:
    """From the start of a run by the client to its first output at the client, in ms. Reads the run to its end."""
    began, first, taken = time.perf_counter(), 0.0, 0
    async for _ in front.texts(FIRST):
        first = first or time.perf_counter()
        taken += 1
    if taken != FIRST_WORK.items:
        raise WrongResult(f"{front.name} delivered {taken} of {FIRST_WORK.items} items")
    return (first - began) * 1e3


async def rate(front: Front, items: int) -> float:
    """Items a second of all streams at once."""
    began = time.perf_counter()
    taken = await asyncio.gather(*(_count(front) for _ in range(STREAMS)))
    elapsed = time.perf_counter() - began
    if set(taken) != {items}:
        raise WrongResult(f"{front.name} delivered {min(taken)} to {max(taken)} of {items} items")
    return sum(taken) / elapsed


async def _count(front: Front) -> int:
    """How many outputs a run delivers. Each is the next one."""
    taken = 0
    async for text in front.texts(MANY):
        taken += 1
        if text != f"{taken} TOKEN {taken - 1}":
            raise WrongResult(f"{front.name} delivered {text!r:.80} as item {taken}")
    return taken
