"""`python -m gpu_chaos`: processes lease GPUs under load, while they and the arbiter are killed, stopped and continued at random.

Meanwhile no device may have two holders, and no valid lease may meet a device without its memory. Afterwards every process has to
be granted its leases again, and when all have been killed, no lease and no memory may be left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from lanemesh.gpu import connect
from lanemesh.v1 import gpu_pb2

from rigs.ports import free_port

WORKERS = 5
TTL = 3.0
"""Time to live of leases, in seconds."""
SETTLE_SECONDS = 60.0
"""Within this time after the last blow every worker has each device again."""
DEVICES = "sim:0=24GiB,sim:1=24GiB"
SHOWN = 10
"""Most faults that are shown."""


class Process:
    """A process that is killed, stopped, continued and started again."""

    def __init__(self, name: str, command: tuple[str, ...], environ: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.events: Counter[str] = Counter()
        self.faults: list[str] = []
        self._environ = environ
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Starts it."""
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.PIPE, env=self._environ
        )
        self._reading = asyncio.create_task(self._read())

    async def kill(self) -> None:
        """Kills it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reading

    async def stop_for(self, seconds: float) -> None:
        """Stops it for a while."""
        self.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    async def until(self, *events: str) -> None:
        """Waits until each of these events has happened once more."""
        before = {event: self.events[event] for event in events}
        while any(self.events[event] == count for event, count in before.items()):
            self._changed.clear()
            await self._changed.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode().strip():
            self.events[line if not line.startswith("WRONG") else "WRONG"] += 1
            if line.startswith("WRONG"):
                self.faults.append(f"{self.name}: {line.removeprefix('WRONG ')}")
            self._changed.set()


class Arbiter(Process):
    """The arbiter's process, which keeps its address and its journal."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        super().__init__("the arbiter", (), environ)
        self._journal = folder / "journal"
        self.address = f"127.0.0.1:{free_port()}"

    async def start(self) -> None:
        """Starts it, and waits until it serves."""
        port = self.address.rpartition(":")[2]
        options = ("--port", port, "--journal", str(self._journal), "--ttl", str(TTL))
        self.command = (sys.executable, "-m", "lanemesh.gpu", *options)
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.PIPE, env=self._environ
        )
        assert self.process.stdout is not None
        self.address = (await self.process.stdout.readline()).decode().strip()
        self._reading = asyncio.create_task(self._read())


class Chaos:
    """The processes, and what is done to them."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        tests = str(Path(__file__).parents[1])
        environ = os.environ | {
            "LANEMESH_GPUS": DEVICES,
            "LANEMESH_GPU_STATE": str(folder / "gpus"),
            "PYTHONPATH": os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH", "")))),
        }
        self.done: Counter[str] = Counter()
        self.workers: list[Process] = []
        self.arbiter = Arbiter(folder, environ)
        self._folder = folder
        self._environ = environ
        self._dice = dice

    async def start(self) -> None:
        """Starts the arbiter and then the workers."""
        await self.arbiter.start()
        for number in range(WORKERS):
            command = ("-m", "gpu_chaos.worker", self.arbiter.address, f"worker {number}", str(self._folder))
            self.workers.append(Process(f"worker {number}", (sys.executable, *command), self._environ))
            await self.workers[-1].start()

    async def go_on(self, seconds: float) -> None:
        """Does harm for so many seconds."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await asyncio.sleep(self._dice.uniform(0.2, 1.5))
            await self._one()

    async def _one(self) -> None:
        dice, worker = self._dice, self._dice.choice(self.workers)
        what = dice.choices(("kill", "stop", "stop past the TTL", "kill arbiter", "stop arbiter"), (5, 3, 2, 3, 1))[0]
        self.done[what] += 1
        match what:
            case "kill":
                await worker.kill()
                await worker.start()
            case "stop":
                await worker.stop_for(dice.uniform(0.1, TTL))
            case "stop past the TTL":
                await worker.stop_for(TTL + dice.uniform(0.1, TTL))
            case "kill arbiter":
                await self.arbiter.kill()
                await asyncio.sleep(dice.choice((0.0, 0.5, TTL + 1.0)))
                await self.arbiter.start()
            case _:
                await self.arbiter.stop_for(dice.uniform(0.1, TTL + 1.0))

    async def settle(self) -> list[str]:
        """Waits until all is right again. Returns what is not."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*(worker.until("done sim:0", "done sim:1") for worker in self.workers))
        except TimeoutError:
            return [
                f"{SETTLE_SECONDS:g} s after the last harm not every worker has got its leases: {await self.report()}"
            ]
        for worker in self.workers:
            await worker.kill()
        link = connect(self.arbiter.address)
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                async for state in link.watch():
                    if not state.leases and all(is_free(status) for status in state.devices):
                        return []
        except TimeoutError:
            return [f"leases or memory are left after all workers were killed: {await self.report()}"]
        finally:
            await link.close()
        return ["the arbiter ended the watch"]

    async def report(self) -> str:
        """What the arbiter shows, for people."""
        link = connect(self.arbiter.address)
        try:
            return "\n".join(map(str, await link.status()))
        finally:
            await link.close()

    async def close(self) -> None:
        """Kills what is left."""
        for process in (*self.workers, self.arbiter):
            await process.kill()


def is_free(status: gpu_pb2.DeviceStatus) -> bool:
    """All memory of a device can be granted."""
    return status.memory.free == status.device.memory_bytes


async def play(seconds: float, seed: int, folder: Path) -> list[str]:
    """Plays one chaos run. Returns what must not have been."""
    chaos = Chaos(folder, random.Random(seed))
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            await chaos.start()
            await asyncio.gather(*(worker.until("done sim:0", "done sim:1") for worker in chaos.workers))
        await chaos.go_on(seconds)
        left = await chaos.settle()
    finally:
        await chaos.close()
    events = sum((worker.events for worker in chaos.workers), Counter[str]())
    print(f"    done to it: {in_words(chaos.done)}", flush=True)
    print(f"    leases: {in_words(events)}", flush=True)
    return [fault for worker in chaos.workers for fault in worker.faults] + left


def in_words(counted: Counter[str]) -> str:
    """Counts in words."""
    return ", ".join(f"{count:,} {what}" for what, count in counted.most_common()) or "nothing"


def main() -> int:
    """Plays what the command line asks for. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gpu_chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long harm is done (%(default)g)")
    parser.add_argument("--seed", type=int, help="of all that is random; unless given: any")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    print(f"    seed {seed}, {options.seconds:g} s, {WORKERS} processes", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        faults = asyncio.run(play(options.seconds, seed, Path(folder)))
    for fault in faults[:SHOWN]:
        print(f"FAILED {fault}", flush=True)
    if len(faults) > SHOWN:
        print(f"FAILED and {len(faults) - SHOWN} more", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
