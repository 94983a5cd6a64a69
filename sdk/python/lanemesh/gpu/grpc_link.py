"""The way to an arbiter over gRPC: calls that carry leases one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc

from lanemesh._grpc.connections import ConnectionPool
from lanemesh.gpu.arbiter import OnFrame
from lanemesh.gpu.errors import lease_error
from lanemesh.gpu.lease_call import CallStream, LeaseCall, reason_of
from lanemesh.gpu.models import ModelStore
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

STATUS_TIMEOUT = 5.0
"""Seconds that an arbiter has to answer `ListDevices`."""
MAX_IDLE = 8
"""Most calls without a lease that are kept for the next ones."""


class GrpcLink:
    """The way to the arbiter at an address. Dials when first used."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.where = f"at {address}"
        self.models = ModelStore()
        self.is_closed = False
        self._pool = ConnectionPool()
        self._calls: set[asyncio.Task[None]] = set()
        self._idle: list[LeaseCall] = []

    def open(self, on_frame: OnFrame) -> CallStream:
        self._idle = [call for call in self._idle if call.loop is asyncio.get_running_loop()]
        if self._idle:
            return self._idle.pop().open(on_frame)
        channel = self._pool.acquire(self.address)
        call = LeaseCall(gpu_pb2_grpc.GpuArbiterServiceStub(channel), self._keep, self._forget)
        self._calls.add(call.task)
        call.task.add_done_callback(self._calls.discard)
        call.task.add_done_callback(lambda _: self._pool.release(channel))
        return call.open(on_frame)

    def _keep(self, call: LeaseCall) -> bool:
        if self.is_closed or len(self._idle) >= MAX_IDLE:
            return False
        self._idle.append(call)
        return True

    def _forget(self, call: LeaseCall) -> None:
        if call in self._idle:
            self._idle.remove(call)

    async def status(self) -> list[gpu_pb2.DeviceStatus]:
        with self._reaching():
            response = await self._stub().ListDevices(gpu_pb2.ListDevicesRequest(), timeout=STATUS_TIMEOUT)
        return list(response.devices)

    async def leases(self, run_id: str = "") -> list[gpu_pb2.LeaseStatus]:
        with self._reaching():
            response = await self._stub().ListLeases(gpu_pb2.ListLeasesRequest(run_id=run_id), timeout=STATUS_TIMEOUT)
        return list(response.leases)

    async def explain(self, request: gpu_pb2.ExplainRequest) -> list[gpu_pb2.LeaseExplanation]:
        with self._reaching():
            response = await self._stub().Explain(request, timeout=STATUS_TIMEOUT)
        return list(response.explanations)

    async def watch(self) -> AsyncIterator[gpu_pb2.WatchResponse]:
        with self._reaching():
            async for response in self._stub().Watch(gpu_pb2.WatchRequest()):
                yield response

    def own_devices(self) -> list[gpu_pb2.DeviceStatus]:
        return []

    def _stub(self) -> gpu_pb2_grpc.GpuArbiterServiceAsyncStub:
        return gpu_pb2_grpc.GpuArbiterServiceStub(self._pool.channel(self.address))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise lease_error(
                "arbiter-unreachable",
                f"The GPU arbiter at {self.address} cannot be reached ({reason_of(error)}). "
                "Is it running? `lanemesh gpu serve` starts one.",
                address=self.address,
            ) from None

    async def close(self) -> None:
        await self.models.close()
        self.is_closed = True
        if self._calls:
            for task in self._calls:
                task.cancel()
            await asyncio.wait(set(self._calls))
        await self._pool.close()
