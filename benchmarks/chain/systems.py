"""What can be measured. A system moves the same work its own way; every measurement drives it through one Protocol."""

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from chain.work import MEBIBYTE, Work, age_ms


class System(Protocol):
    """The chain source, upper-case, count, client, built one way, started and warm."""

    @property
    def name(self) -> str:
        """The row's name."""

    @property
    def load(self) -> int:
        """How many items keep it busy for about a second."""

    def results(self, work: Work) -> AsyncGenerator[str, None]:
        """Runs the work; yields what the count stage emits, as it reaches the client."""


@runtime_checkable
class MediaSystem(Protocol):
    """A chain of the same three stages over values of 1 MiB."""

    @property
    def name(self) -> str:
        """The row's name."""

    def media(self, items: int) -> AsyncIterator[str]:
        """Moves so many values of 1 MiB; yields what the count stage emits: the count, at the end."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much of each measurement one round takes."""

    load: float = 1.0
    """Share of each system's `load` that a throughput run moves."""
    first_items: int = 20
    """Runs of which the time to the first result is taken."""
    paced_items: int = 500
    """Items of the paced run."""
    paced_interval_s: float = 0.002
    """Seconds between two items of the paced run."""
    media_items: int = 128
    """Values of 1 MiB that a media run moves."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One round of one system."""

    items_per_s: float
    first_item_ms: Sequence[float]
    """From asking for a run to its first result at the client, each in ms."""
    paced_ms: Sequence[float]
    """From the source making an item to its result at the client, each in ms."""


class WrongResult(Exception):
    """A system lost or invented items, so that its speed means nothing."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); `values` is not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def sample(system: System, effort: Effort) -> Sample:
    """One round: throughput, time to the first result, paced latency."""
    return Sample(
        items_per_s=await _throughput(system, max(1, int(system.load * effort.load))),
        first_item_ms=[await _first_item_ms(system) for _ in range(effort.first_items)],
        paced_ms=await _paced_ms(system, effort),
    )


async def media_bytes_per_s(system: MediaSystem, effort: Effort) -> float:
    """One round of the media chain, in bytes of content per second."""
    started = time.perf_counter()
    results = [result async for result in system.media(effort.media_items)]
    elapsed = time.perf_counter() - started
    _check(system.name, results, effort.media_items)
    return effort.media_items * MEBIBYTE / elapsed


async def _throughput(system: System, items: int) -> float:
    started = time.perf_counter()
    results = [result async for result in system.results(Work(items=items, every=10_000))]
    elapsed = time.perf_counter() - started
    _check(system.name, results, items)
    return items / elapsed


async def _first_item_ms(system: System) -> float:
    started = time.perf_counter()
    first = 0.0
    async for _ in system.results(Work(items=3, every=1)):
        first = first or time.perf_counter()
    return (first - started) * 1e3


async def _paced_ms(system: System, effort: Effort) -> list[float]:
    work = Work(items=effort.paced_items, every=1, interval_s=effort.paced_interval_s)
    ages = [age_ms(result) async for result in system.results(work)]
    if len(ages) != effort.paced_items:
        raise WrongResult(f"{system.name} gave {len(ages)} results for {effort.paced_items} paced items")
    return ages


def _check(name: str, results: Sequence[str], items: int) -> None:
    last = results[-1] if results else "nothing"
    if last.split(" ", 1)[0] != str(items):
        raise WrongResult(f"{name} was given {items} items, and its last result is {last!r}")
