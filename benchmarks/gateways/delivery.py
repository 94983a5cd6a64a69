"""What clients of the gateway get, beside what clients over gRPC get from the same mesh."""

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
from gateways.served import Front, Grpc, Sse, Web

FIRST = "first"
"""The deployment whose first outputs are timed."""
MANY = "many"
"""The deployment that many clients run at once."""
FIRST_WORK = Work(items=3, every=1)
STREAMS = 100
"""Runs at once."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way by which clients run a pipeline; medians of the rounds."""

    front: str
    first_p50_ms: float
    first_p99_ms: float
    items_per_s: float
    """Of all streams together."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The rows, and how SSE compares with the gRPC client in the same rounds; medians."""

    rows: Sequence[Row]
    first_later_ms: float
    """By how much the p50 of first outputs is later."""
    share: float
    """The items a second as a share of those of the gRPC client."""


async def measure(web: Web, rounds: int, runs: int, items: int, progress: Callable[[str], None]) -> Found:
    """Both ways, one right after the other.

    Args:
        web: the mesh and the gateway.
        rounds: how often both are measured.
        runs: runs of a round whose first output is timed.
        items: outputs of each of the runs at once.
        progress: gets a line per round.
    """
    many = Work(items=items, every=1)
    await web.client.deploy(FIRST, placed_chain(FIRST_WORK))
    await web.client.deploy(MANY, placed_chain(many))
    fronts: list[Front] = [Grpc(web.client), Sse(web.events)]
    firsts: defaultdict[str, list[Sequence[float]]] = defaultdict(list)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for front in fronts:
        for _ in range(10):
            await first_ms(front)
        await rate(front, items)
    gc.freeze()  # as the commands do when they have begun
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}: first outputs, then {STREAMS} streams")
        in_turn: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(runs):
            for front in fronts:
                in_turn[front.name].append(await first_ms(front))
        for front in fronts:
            firsts[front.name].append(in_turn[front.name])
            rates[front.name].append(await rate(front, items))
    p50 = {name: [percentile(each, 0.5) for each in of_name] for name, of_name in firsts.items()}
    grpc, sse = (front.name for front in fronts)
    return Found(
        rows=[
            Row(
                front=front.name,
                first_p50_ms=median(p50[front.name]),
                first_p99_ms=median(percentile(each, 0.99) for each in firsts[front.name]),
                items_per_s=median(rates[front.name]),
            )
            for front in fronts
        ],
        first_later_ms=median(own - peer for own, peer in zip(p50[sse], p50[grpc], strict=True)),
        share=median(own / peer for own, peer in zip(rates[sse], rates[grpc], strict=True)),
    )


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
