"""Holders, waiters and the arbiter are killed under load: no device has two holders, and no lease is lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lanemesh.gpu import connect

from rigs.gpu import arbiter_process

pytestmark = pytest.mark.timeout(100)

WORKER = """
import asyncio, fcntl, sys
from lanemesh.gpu import GpuClient, LeaseError, connect
from lanemesh.v1 import gpu_pb2

async def main():
    gpu = GpuClient(connect(sys.argv[1]), gpu_pb2.LeaseHolder(component=sys.argv[2]))
    while True:
        try:
            async with gpu.lease() as lease:
                with open(sys.argv[3], "w") as device:
                    try:
                        fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        print("overlap" if lease.valid else "fenced", flush=True)
                    print("held", flush=True)
                    await asyncio.sleep(0.01)
            print("done", flush=True)
        except LeaseError as error:
            print("lost", error.fault.reason, flush=True)

asyncio.run(main())
"""


class Worker:
    """A process that leases the device again and again."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, line: str) -> None:
        """Reads what it prints, until it prints this."""
        assert self.process.stdout is not None
        while True:
            self.lines.append((await self.process.stdout.readline()).decode().strip())
            if self.lines[-1] in (line, ""):
                assert self.lines[-1] == line
                return


@asynccontextmanager
async def workers(address: str, device: Path, count: int) -> AsyncIterator[list[Worker]]:
    made: list[Worker] = []
    try:
        for number in range(count):
            command = (sys.executable, "-c", WORKER, address, f"worker {number}", str(device))
            made.append(Worker(await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)))
        yield made
    finally:
        for worker in made:
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.process.wait()


@pytest.mark.conformance("GPU-06")
@pytest.mark.conformance("GPU-09")
@pytest.mark.waits
async def test_killed_holders_waiters_and_arbiters_leave_no_lost_lease_and_no_double_grant(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(90),
        arbiter_process(tmp_path, ttl=3) as arbiter,
        workers(arbiter.address, tmp_path / "device", 4) as made,
    ):
        for worker in made:
            await worker.until("done")
        holder, waiter, *others = made
        await holder.until("held")
        holder.process.kill()
        for worker in others:
            await worker.until("done")
        waiter.process.kill()
        for worker in others:
            await worker.until("done")
        await arbiter.kill()
        await arbiter.start()
        for worker in others * 3:
            await worker.until("done")
        for worker in others:
            worker.process.kill()
            await worker.process.wait()
        link = connect(arbiter.address)
        async for state in link.watch():
            if not state.leases:
                break
        await link.close()
    assert not [line for worker in made for line in worker.lines if line == "overlap"]
