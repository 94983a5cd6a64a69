"""The age of an item at the client when the source emits one every 10 ms, as a model does with its tokens."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from chain.systems import System, WrongResult, percentile
from chain.work import Work, age_ms
from delivery.systems import started

INTERVAL_S = 0.01
PEER = "bare-one"
NAMES = (PEER, "client", "client-store", "lanemesh-spread")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The medians of a system's rounds."""

    system: str
    p50_ms: float
    p99_ms: float
    ratio: float
    """Of the p50 to that of `PEER` in the same round."""


async def measure(rounds: int, items: int, progress: Callable[[str], None]) -> list[Row]:
    """The rows of all systems; each round paces so many items through each of them."""
    ages: defaultdict[str, list[Sequence[float]]] = defaultdict(list)
    progress("starting " + ", ".join(NAMES))
    async with started(NAMES) as systems:
        for system in systems.values():
            await ages_ms(system, 20)
        gc.freeze()  # as the commands do when they have begun
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            for name in NAMES:
                ages[name].append(await ages_ms(systems[name], items))
    p50 = {name: [percentile(of_round, 0.5) for of_round in of_name] for name, of_name in ages.items()}
    return [
        Row(
            system=name,
            p50_ms=median(p50[name]),
            p99_ms=median(percentile(of_round, 0.99) for of_round in ages[name]),
            ratio=median(own / peer for own, peer in zip(p50[name], p50[PEER], strict=True)),
        )
        for name in NAMES
    ]


async def ages_ms(system: System, items: int) -> list[float]:
    """From the source making an item to the client's program taking it, each item in ms."""
    work = Work(items=items, every=1, interval_s=INTERVAL_S)
    ages = [age_ms(result) async for result in system.results(work)]
    if len(ages) != items:
        raise WrongResult(f"{system.name} was given {items} paced items, and delivered {len(ages)}")
    return ages
