"""The way to an arbiter over gRPC: one channel, one stream per lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc

from lanemesh._grpc.connections import ConnectionPool
from lanemesh._grpc.tls_errors import with_hint
from lanemesh._grpc.writing import half_close
from lanemesh.gpu.arbiter import OnFrame
from lanemesh.gpu.errors import lease_error
from lanemesh.gpu.models import ModelStore
from lanemesh.gpu.outbox import Outbox
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

STATUS_TIMEOUT = 5.0
"""Seconds that an arbiter has to answer `ListDevices`."""
CLOSE_TIMEOUT = 5.0
"""Seconds that an arbiter has to end a stream that was closed."""


class GrpcLink:
    """The way to the arbiter at an address. Dials when first used."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.where = f"at {address}"
        self.models = ModelStore()
        self.is_closed = False
        self._pool = ConnectionPool()
        self._streams: set[asyncio.Task[None]] = set()

    def open(self, on_frame: OnFrame) -> _GrpcStream:
        channel = self._pool.acquire(self.address)
        stream = _GrpcStream(gpu_pb2_grpc.GpuArbiterServiceStub(channel), on_frame)
        self._streams.add(stream.task)
        stream.task.add_done_callback(self._streams.discard)
        stream.task.add_done_callback(lambda _: self._pool.release(channel))
        return stream

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
                f"The GPU arbiter at {self.address} cannot be reached ({_why(error)}). "
                "Is it running? `lanemesh gpu serve` starts one.",
                address=self.address,
            ) from None

    async def close(self) -> None:
        await self.models.close()
        self.is_closed = True
        if self._streams:
            for task in self._streams:
                task.cancel()
            await asyncio.wait(set(self._streams))
        await self._pool.close()


class _GrpcStream:
    """One `Lease` call. One task reads, another writes; cancelling either would end the call."""

    local = False

    def __init__(self, stub: gpu_pb2_grpc.GpuArbiterServiceAsyncStub, on_frame: OnFrame) -> None:
        self.lost_because = ""
        self._on_frame = on_frame
        self._outbox = Outbox(gpu_pb2.LeaseRequest())
        self._call = stub.Lease()
        self._timer: asyncio.TimerHandle | None = None
        # The writer begins first: it has the request by then.
        self._writing = asyncio.create_task(self._write(), name="gpu-lease-writer")
        self.task = asyncio.create_task(self._run(), name="gpu-lease-stream")

    def send(self, frame: gpu_pb2.LeaseRequest) -> None:
        self._outbox.put(frame)

    def close(self) -> None:
        self._outbox.finish()
        if self._timer is None and not self.task.done():
            self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._call.cancel)

    async def _run(self) -> None:
        try:
            while isinstance(frame := await self._call.read(), gpu_pb2.LeaseResponse):
                if frame.WhichOneof("frame"):
                    self._on_frame(frame)
            self.lost_because = "it closed the stream"
        except grpc.aio.AioRpcError as error:
            self.lost_because = _why(error)
        except asyncio.CancelledError:
            self.lost_because = "the connection was closed"
            self._call.cancel()
        finally:
            self._outbox.finish()
            await self._writing
            if self._timer is not None:
                self._timer.cancel()
            self._on_frame(None)

    async def _write(self) -> None:
        try:
            async for frame in self._outbox:
                await self._call.write(frame)
            await half_close(self._call)
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            # The call has ended; the reading side reports the reason.
            self._outbox.finish()


def _why(error: grpc.aio.AioRpcError) -> str:
    return with_hint(error.details() or error.code().name)
