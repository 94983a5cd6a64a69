"""Items a second when every item reaches the client's program, and the CPU time of an item in all processes."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import psutil

from chain.systems import System
from delivery.systems import COMPARED, NAMES, deliver, started

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One round of one system."""

    items_per_s: float
    cpu_us_per_item: float
    """CPU time of an item, of all processes together."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The medians of a system's rounds."""

    system: str
    items_per_s: float
    cpu_us_per_item: float
    peer: str = ""
    ratio: float = 1.0
    """Of the peer's items a second just before."""


async def measure(rounds: int, seconds: float, progress: Progress) -> list[Row]:
    """The rows of all systems. Every system is measured right after its peer: the machine's speed changes within seconds.

    Args:
        seconds: about how long one measurement of one system takes.
    """
    rates: defaultdict[str, list[Rate]] = defaultdict(list)
    ratios: defaultdict[str, list[float]] = defaultdict(list)
    progress("starting " + ", ".join(NAMES))
    async with started(NAMES) as systems:
        items = {name: await _load(system, seconds) for name, system in systems.items()}
        gc.freeze()  # as the commands do when they have begun

        async def rate(name: str) -> float:
            rates[name].append(await _rate(systems[name], items[name]))
            return rates[name][-1].items_per_s

        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            await rate("bare-one")
            for each in COMPARED:
                peer = await rate(each.peer)
                ratios[each.name].append(await rate(each.name) / peer)
    peers = {each.name: each.peer for each in COMPARED}
    return [
        Row(
            system=name,
            items_per_s=median(rate.items_per_s for rate in rates[name]),
            cpu_us_per_item=median(rate.cpu_us_per_item for rate in rates[name]),
            peer=peers.get(name, ""),
            ratio=median(ratios[name]) if name in peers else 1.0,
        )
        for name in NAMES
    ]


async def _load(system: System, seconds: float) -> int:
    """How many items keep a system busy for so long. Warms it up."""
    items = 1_000
    for share in (0.2, 1.0):
        items = max(200, int((await _rate(system, items)).items_per_s * seconds * share))
    return items


async def _rate(system: System, items: int) -> Rate:
    cpu, began = cpu_s(), time.perf_counter()
    await deliver(system, items)
    elapsed = time.perf_counter() - began
    return Rate(items_per_s=items / elapsed, cpu_us_per_item=(cpu_s() - cpu) / items * 1e6)


def cpu_s() -> float:
    """CPU seconds that this process and those that it started have used."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(each.user + each.system for each in times)
