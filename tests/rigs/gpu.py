"""An arbiter in this process or over gRPC, and clients of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lanemesh.gpu import ArbiterLink, EmbeddedLink, GpuArbiter, GpuClient, Lease, connect
from lanemesh.gpu.server import ArbiterServer
from lanemesh.v1 import gpu_pb2

from rigs.ports import free_port

SOON = 10.0
"""Seconds within which anything that is awaited here has long happened."""
EVERYWHERE = ("embedded", "grpc")

STUCK_BEGUN, STUCK_MAY_END = threading.Event(), threading.Event()
"""A body in a thread has begun, and may end."""


class Place:
    """An arbiter, and clients of it."""

    def __init__(self, arbiter: GpuArbiter, address: str | None) -> None:
        self.arbiter = arbiter
        self.address = address
        self.links: list[ArbiterLink] = []

    def link(self) -> ArbiterLink:
        self.links.append(connect(self.address) if self.address else EmbeddedLink(self.arbiter))
        return self.links[-1]

    def client(self, component: str, run_id: str = "r1") -> Client:
        return Client(self.link(), component, run_id)


class Client(GpuClient):
    """A lease client that remembers its places in the queue."""

    __slots__ = ("places",)

    def __init__(self, link: ArbiterLink, component: str, run_id: str) -> None:
        self.places: asyncio.Queue[int] = asyncio.Queue()
        holder = gpu_pb2.LeaseHolder(run_id=run_id, component=component, server="127.0.0.1:7001")
        super().__init__(link, holder, on_waiting=self._note)

    def _note(self, queued: gpu_pb2.LeaseQueued | None) -> None:
        if queued is not None:
            self.places.put_nowait(queued.position)

    async def until_place(self, position: int) -> None:
        while await self.places.get() != position:
            pass


@asynccontextmanager
async def place(kind: str, *, devices: int = 1, ttl: float = 30.0) -> AsyncIterator[Place]:
    simulated = [gpu_pb2.Device(id=f"sim:{index}", memory_bytes=2**30) for index in range(devices)]
    arbiter = GpuArbiter(simulated, ttl=ttl)
    server = ArbiterServer(arbiter) if kind == "grpc" else None
    if server:
        await server.start()
    here = Place(arbiter, server.address if server else None)
    try:
        async with asyncio.timeout(60):
            yield here
    finally:
        for link in here.links:
            await link.close()
        if server:
            await server.stop()


async def entered(lease: Lease) -> gpu_pb2.Device:
    """Enters a lease, and leaves it at once."""
    async with lease:
        return lease.device


class ArbiterProcess:
    """An arbiter process that can be killed and started again at the same address."""

    def __init__(self, journal: Path, ttl: float) -> None:
        self._journal, self._ttl = journal, ttl
        self.address = f"127.0.0.1:{free_port()}"

    async def start(self) -> None:
        port = self.address.rpartition(":")[2]
        options = ("--port", port, "--journal", str(self._journal), "--ttl", str(self._ttl))
        command = (sys.executable, "-m", "lanemesh.gpu", *options)
        env = {**os.environ, "LANEMESH_GPUS": "sim:0=24GiB"}
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=env)
        assert self.process.stdout is not None
        self.address = (await self.process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def arbiter_process(folder: Path, ttl: float = 20) -> AsyncIterator[ArbiterProcess]:
    """An arbiter process, with its journal in a folder."""
    process = ArbiterProcess(folder / "journal", ttl)
    await process.start()
    try:
        yield process
    finally:
        if process.process.returncode is None:
            await process.kill()
