"""`python -m gpu_chaos.worker ADDRESS NAME FOLDER`: leases devices again and again, and reports what must not be.

Each line on standard output is an event: `done DEVICE`, `lost REASON`, or `WRONG` and what.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import sys
from pathlib import Path

from lanemesh.gpu import ArbiterLink, GpuClient, LeaseError, LeaseTimeout, OutOfMemory, connect
from lanemesh.gpu.simulated import Allocation, simulated_memory
from lanemesh.v1 import gpu_pb2

EXCLUSIVE, SHARED = "sim:0", "sim:1"
MODELS = {"a": 10, "b": 12, "c": 8}
"""GiB of each model; a lease works with 2 GiB more."""
WAIT_SECONDS = 60.0
"""A longer wait for a lease is a fault: others hold theirs for some milliseconds."""
TOKEN = struct.Struct("<Q")
RECENT = 64
"""How many of the latest tokens are read."""


def emit(*words: str) -> None:
    """Reports an event at once."""
    print(*words, flush=True)


class Tokens:
    """The fencing tokens of one device, which all workers append to one file."""

    def __init__(self, folder: Path, device: str) -> None:
        self._path = folder / f"{device}.tokens"

    def add(self, token: int) -> None:
        """Appends a token."""
        with self._path.open("ab", buffering=0) as file:
            file.write(TOKEN.pack(token))

    def latest(self) -> int:
        """The greatest of the recent ones."""
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - RECENT * TOKEN.size))
            data = file.read()
        return max(int(token) for (token,) in TOKEN.iter_unpack(data[: len(data) // TOKEN.size * TOKEN.size]))


async def alone(gpu: GpuClient, tokens: Tokens, dice: random.Random) -> None:
    """Holds a device alone: while the lease is valid, no other one has got it."""
    async with gpu.lease(EXCLUSIVE, wait_timeout=WAIT_SECONDS) as lease:
        tokens.add(lease.fencing_token)
        for _ in range(4):
            await asyncio.sleep(dice.uniform(0.0, 0.005))
            latest = tokens.latest()  # read before `valid`
            if latest > lease.fencing_token and lease.valid:
                emit(f"WRONG {EXCLUSIVE} has two holders: token {lease.fencing_token} is valid beside {latest}")
    emit("done", EXCLUSIVE)


async def with_model(gpu: GpuClient, name: str, dice: random.Random) -> None:
    """Works with a model that stays loaded: while the lease is valid, the device has the memory."""
    memory = simulated_memory()
    size = MODELS[name]
    async with gpu.lease(
        SHARED, model=name, memory=f"{size}GiB", peak=f"{size + 2}GiB", wait_timeout=WAIT_SECONDS
    ) as lease:
        try:
            await lease.keep(lambda: memory.allocate(SHARED, f"{size}GiB"), unload)
            with memory.allocate(SHARED, "2GiB"):
                await asyncio.sleep(dice.uniform(0.0, 0.02))
        except OutOfMemory as error:
            if lease.valid:
                emit(f"WRONG the lease for {name} is valid, and {error}: {memory.used(SHARED)}")
    emit("done", SHARED)


async def unload(weights: Allocation) -> None:
    """Frees a model."""
    weights.free()


async def lease_repeatedly(link: ArbiterLink, name: str, folder: Path) -> None:
    """One lease after the other, for ever."""
    gpu = GpuClient(link, gpu_pb2.LeaseHolder(component=name))
    dice = random.Random(name)
    tokens = Tokens(folder, EXCLUSIVE)
    while True:
        try:
            if dice.random() < 0.5:
                await alone(gpu, tokens, dice)
            else:
                await with_model(gpu, dice.choice(sorted(MODELS)), dice)
        except LeaseTimeout as error:
            emit(f"WRONG a wait lasted {WAIT_SECONDS:g} s: {error}")
        except LeaseError as error:
            emit("lost", error.fault.reason)
            await asyncio.sleep(0.05)


async def main() -> None:
    """Two clients at once."""
    address, name, folder = sys.argv[1:]
    link = connect(address)
    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(lease_repeatedly(link, f"{name}.{number}", Path(folder)))


if __name__ == "__main__":
    asyncio.run(main())
