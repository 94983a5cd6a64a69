"""How a lease client reaches its arbiter: in this process, or over gRPC. Both carry the same frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from lanemesh.gpu.arbiter import ArbiterStream, GpuArbiter, OnFrame, embedded_arbiter
from lanemesh.gpu.models import ModelStore
from lanemesh.v1 import gpu_pb2


class LeaseStream(Protocol):
    """The holder's end of the stream of one lease."""

    @property
    def local(self) -> bool:
        """The arbiter is in this process, so keepalives are not needed."""

    @property
    def lost_because(self) -> str:
        """Why the stream is over, if the arbiter did not end it."""

    def send(self, frame: gpu_pb2.LeaseRequest) -> None:
        """Sends a frame, in order; never waits. A stream that is over drops it."""

    def close(self) -> None:
        """Ends the stream after the sent frames, within a time limit."""


class ArbiterLink(Protocol):
    """A link to one arbiter. Its creator closes it."""

    @property
    def models(self) -> ModelStore:
        """The models that this process keeps loaded."""

    @property
    def is_closed(self) -> bool:
        """It was closed."""

    @property
    def where(self) -> str:
        """Where the arbiter is, in words: "at host:port"."""

    def open(self, on_frame: OnFrame) -> LeaseStream:
        """A stream for one lease. `on_frame` is called with each frame, never from within a call here, and last with None."""

    async def status(self) -> list[gpu_pb2.DeviceStatus]:
        """The devices with their leases and waiting requests. Raises `ArbiterUnreachable`."""

    async def leases(self, run_id: str = "") -> list[gpu_pb2.LeaseStatus]:
        """Leases that are held, yielded or kept, and then requests in the order of the queue; of one run if it is given. Raises
        `ArbiterUnreachable`."""

    async def explain(self, request: gpu_pb2.ExplainRequest) -> list[gpu_pb2.LeaseExplanation]:
        """Why requests wait. Raises `ArbiterUnreachable`."""

    def watch(self) -> AsyncIterator[gpu_pb2.WatchResponse]:
        """The devices and leases now, and after changes. Raises `ArbiterUnreachable`."""

    def own_devices(self) -> list[gpu_pb2.DeviceStatus]:
        """The devices that this process alone uses; none if the arbiter is elsewhere."""

    async def close(self) -> None:
        """Unloads the models and closes the connection. Leases that still use it are lost."""


def connect(address: str | None) -> ArbiterLink:
    """The link to the arbiter at `host:port`, dialled when first used; without one, to that of this process."""
    if not address:
        return EmbeddedLink()
    from lanemesh.gpu.grpc_link import GrpcLink

    return GrpcLink(address)


async def status(address: str | None = None) -> list[gpu_pb2.DeviceStatus]:
    """The devices of the arbiter at `host:port` and their leases; without an address, the devices of this machine."""
    link = connect(address)
    try:
        return await link.status()
    finally:
        await link.close()


class EmbeddedLink:
    """The way to an arbiter in this process."""

    where = "of this process"
    is_closed = False

    def __init__(self, arbiter: GpuArbiter | None = None) -> None:
        self._given = arbiter
        self.models = ModelStore()

    @property
    def _arbiter(self) -> GpuArbiter:
        return self._given or embedded_arbiter()

    def open(self, on_frame: OnFrame) -> LeaseStream:
        return _EmbeddedStream(self._arbiter.open(on_frame, local=True))

    async def status(self) -> list[gpu_pb2.DeviceStatus]:
        await asyncio.sleep(0)
        return self._arbiter.status()

    async def leases(self, run_id: str = "") -> list[gpu_pb2.LeaseStatus]:
        await asyncio.sleep(0)
        return self._arbiter.leases(run_id)

    async def explain(self, request: gpu_pb2.ExplainRequest) -> list[gpu_pb2.LeaseExplanation]:
        await asyncio.sleep(0)
        return self._arbiter.explain(request.lease_id, request.run_id, request.component)

    def watch(self) -> AsyncIterator[gpu_pb2.WatchResponse]:
        return self._arbiter.watch()

    def own_devices(self) -> list[gpu_pb2.DeviceStatus]:
        return self._arbiter.status()

    async def close(self) -> None:
        await self.models.close()


class _EmbeddedStream:
    local = True
    lost_because = ""

    def __init__(self, stream: ArbiterStream) -> None:
        self._stream = stream

    def send(self, frame: gpu_pb2.LeaseRequest) -> None:
        self._stream.send(frame)

    def close(self) -> None:
        self._stream.lose()
