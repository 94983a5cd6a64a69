"""Leases under wrong declarations: models whose sizes are 30 % off, and a foreign process that takes half of the device."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from lanemesh.gpu import (
    EmbeddedLink,
    GpuArbiter,
    GpuClient,
    GpuOutOfMemory,
    Lease,
    OutOfMemory,
    find_devices,
)
from lanemesh.gpu.observing import SimulatedObserver
from lanemesh.gpu.simulated import FOREIGN, Allocation, SimulatedMemory, simulated_memory
from lanemesh.v1 import gpu_pb2

DEVICE, GIB = "sim:0", 1 << 30
CAPACITY = 24 * GIB
WRONG = 0.3
"""How far real sizes are from declared ones, in both directions."""
WORKING = GIB // 4
"""Declared bytes of a firing beside its model."""
MODELS = {f"model {number}": size * GIB for number, size in enumerate((4, 3, 1, 2, 2, 1, 5, 1, 2, 3, 1, 2, 3))}
"""Declared bytes of each model: together more than the device has."""
POPULARITY = [1 / rank for rank in range(1, len(MODELS) + 1)]
"""How often each model is wanted, by Zipf's law."""
CLIENTS = 8
FOREIGN_BYTES, PIECE = CAPACITY // 2, GIB // 4


@dataclass(slots=True)
class WrongSizes:
    """What came of it."""

    finished: int = 0
    retried: int = 0
    """Firings that ran out of memory once."""
    failed: int = 0
    """Firings that ran out of memory in their second attempt as well."""
    used: list[float] = field(default_factory=list)
    """Samples of the part of the device that is in use."""

    @property
    def mean_used(self) -> float:
        """The mean part of the device in use."""
        return sum(self.used) / len(self.used)


async def wrong_sizes(firings: int, seed: int = 1) -> WrongSizes:
    """Runs so many firings of several models at once. After a quarter of them a foreign process takes half of the device."""
    with simulated():
        arbiter = GpuArbiter(find_devices(), observer=SimulatedObserver([DEVICE]))
        link = EmbeddedLink(arbiter)
        load = _Load(link, random.Random(seed), firings)
        try:
            await load.run()
        finally:
            await link.close()
            arbiter.close()
        return load.found


@contextmanager
def simulated() -> Iterator[None]:
    """One simulated device whose memory is observed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ.update(LANEMESH_GPUS=f"{DEVICE}={CAPACITY}B", LANEMESH_GPU_STATE=folder)
        yield


class _Load:
    """Clients that fire one after the other, a foreign process, and samples of the memory."""

    def __init__(self, link: EmbeddedLink, dice: random.Random, firings: int) -> None:
        self.found = WrongSizes()
        self._link = link
        self._dice = dice
        self._firings = firings
        self._left = firings
        self._quarter_done = asyncio.Event()
        self._memory: SimulatedMemory = simulated_memory()
        self._real = {name: int(size * dice.choice((1 - WRONG, 1 + WRONG))) for name, size in MODELS.items()}
        self._real_working = {name: int(WORKING * dice.choice((1 - WRONG, 1 + WRONG))) for name in MODELS}

    async def run(self) -> None:
        """Runs all firings."""
        beside = [asyncio.create_task(self._sample()), asyncio.create_task(self._take_half())]
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)

    async def _client(self, number: int) -> None:
        gpu = GpuClient(self._link, gpu_pb2.LeaseHolder(component=f"client {number}"), warn=self._count)
        while self._left > 0:
            self._left -= 1
            if self._left <= self._firings * 3 // 4:
                self._quarter_done.set()
            (name,) = self._dice.choices(list(MODELS), POPULARITY)
            try:
                work = partial(self._fire, name)
                await gpu.attempt(work, memory=MODELS[name], peak=MODELS[name] + WORKING, model=name)
                self.found.finished += 1
            except GpuOutOfMemory:
                self.found.failed += 1

    def _count(self, text: str) -> None:
        self.found.retried += "ran out of memory" in text

    async def _fire(self, name: str, lease: Lease) -> None:
        weights: Allocation = await lease.keep(partial(self._load, name), _unload)
        with self._memory.allocate(DEVICE, self._real_working[name]) as block:
            lease.report_use(weights.size + block.size)
            await asyncio.sleep(self._dice.uniform(0.2, 0.4))

    async def _load(self, name: str) -> Allocation:
        weights = self._memory.allocate(DEVICE, self._real[name])
        await asyncio.sleep(0.1)
        return weights

    async def _take_half(self) -> None:
        """The foreign process, which takes what is free until it has half of the device."""
        await self._quarter_done.wait()
        taken = 0
        while taken < FOREIGN_BYTES:
            with suppress(OutOfMemory):
                self._memory.allocate(DEVICE, PIECE, process=FOREIGN)
                taken += PIECE
            await asyncio.sleep(0.03)  # as fast as a model is read from a disk

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            if 0 < self._left < self._firings - 4 * CLIENTS:  # what is loaded first does not count
                self.found.used.append(sum(self._memory.used(DEVICE).values()) / CAPACITY)


async def _unload(weights: Allocation) -> None:
    weights.free()
