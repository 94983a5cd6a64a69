"""`GpuArbiterService`: gRPC streams before the arbiter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from lanemesh._grpc.first_frame import FIRST_FRAME_SECONDS, first_frame
from lanemesh._grpc.status import abort
from lanemesh._grpc.writing import write
from lanemesh.faults import Code, Fault
from lanemesh.gpu.arbiter import ArbiterStream, GpuArbiter
from lanemesh.gpu.outbox import Outbox
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

HALF_CLOSE_TIMEOUT = 5.0
"""Seconds that a holder has to half-close after its last frame. Ending the call earlier is seen there as INTERNAL."""

MAX_WATCHERS = 64
"""Most calls of `Watch` at a time."""


class GpuArbiterServicer(gpu_pb2_grpc.GpuArbiterServiceServicer):
    """Serves one arbiter. Each stream has the same life as the arbiter's stream behind it."""

    def __init__(self, arbiter: GpuArbiter, *, first_frame_seconds: float = FIRST_FRAME_SECONDS) -> None:
        """`first_frame_seconds`: how long a holder may take to send its request on a new stream."""
        self._first_frame_seconds = first_frame_seconds
        self._arbiter = arbiter
        self._watchers = 0

    async def Lease(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[gpu_pb2.LeaseRequest],
        context: grpc.aio.ServicerContext[gpu_pb2.LeaseRequest, gpu_pb2.LeaseResponse],
    ) -> None:
        outbox = Outbox(gpu_pb2.LeaseResponse())
        stream = self._arbiter.open(lambda frame: outbox.finish() if frame is None else outbox.put(frame))
        reading: asyncio.Task[Fault | None] | None = None
        try:
            # The request is read here, and others by a task: the grant of a free device waits for no other task.
            request = await first_frame(context, "request", self._first_frame_seconds)
            if request is grpc.aio.EOF:
                return
            breach = _take(request, stream, outbox)
            reading = asyncio.create_task(_read(context, stream, outbox, breach), name="gpu-arbiter-reader")
            async for frame in outbox:
                await write(context, frame)
            await asyncio.wait({reading}, timeout=HALF_CLOSE_TIMEOUT)
        finally:
            stream.lose()
            outbox.finish()
            if reading is not None:
                reading.cancel()
        breach = reading.result() if reading.done() and not reading.cancelled() else None
        if breach is not None:
            await abort(context, breach)

    async def ListDevices(
        self,
        request: gpu_pb2.ListDevicesRequest,
        context: grpc.aio.ServicerContext[gpu_pb2.ListDevicesRequest, gpu_pb2.ListDevicesResponse],
    ) -> gpu_pb2.ListDevicesResponse:
        return gpu_pb2.ListDevicesResponse(devices=self._arbiter.status())

    async def ListLeases(
        self,
        request: gpu_pb2.ListLeasesRequest,
        context: grpc.aio.ServicerContext[gpu_pb2.ListLeasesRequest, gpu_pb2.ListLeasesResponse],
    ) -> gpu_pb2.ListLeasesResponse:
        return gpu_pb2.ListLeasesResponse(leases=self._arbiter.leases(request.run_id))

    async def Explain(
        self,
        request: gpu_pb2.ExplainRequest,
        context: grpc.aio.ServicerContext[gpu_pb2.ExplainRequest, gpu_pb2.ExplainResponse],
    ) -> gpu_pb2.ExplainResponse:
        found = self._arbiter.explain(request.lease_id, request.run_id, request.component)
        return gpu_pb2.ExplainResponse(explanations=found)

    async def Watch(
        self,
        request: gpu_pb2.WatchRequest,
        context: grpc.aio.ServicerContext[gpu_pb2.WatchRequest, gpu_pb2.WatchResponse],
    ) -> AsyncIterator[gpu_pb2.WatchResponse]:
        if self._watchers >= MAX_WATCHERS:
            what = f"{MAX_WATCHERS} clients watch this arbiter, which is the limit; retry later"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, what)
        self._watchers += 1
        try:
            async for response in self._arbiter.watch():
                yield response
        finally:
            self._watchers -= 1


def _take(frame: gpu_pb2.LeaseRequest, stream: ArbiterStream, outbox: Outbox[gpu_pb2.LeaseResponse]) -> Fault | None:
    """Passes a frame of the holder to the arbiter. Returns its protocol error, if it is one, after which nothing is sent."""
    try:
        stream.send(frame)
    except ValueError as error:
        outbox.finish()
        return Fault(code=Code.INVALID_ARGUMENT, reason="bad-lease-frame", message=str(error))
    return None


async def _read(
    context: grpc.aio.ServicerContext[gpu_pb2.LeaseRequest, gpu_pb2.LeaseResponse],
    stream: ArbiterStream,
    outbox: Outbox[gpu_pb2.LeaseResponse],
    breach: Fault | None,
) -> Fault | None:
    """Passes the holder's frames after the first one to the arbiter until it half-closes or disconnects; after a protocol error
    they are discarded. Returns that error: `breach` is one of the first frame."""
    try:
        while isinstance(frame := await context.read(), gpu_pb2.LeaseRequest):
            breach = breach or _take(frame, stream, outbox)
    finally:
        stream.lose()
        outbox.finish()
    return breach


def serve_arbiter(
    arbiter: GpuArbiter, server: grpc.aio.Server, *, first_frame_seconds: float = FIRST_FRAME_SECONDS
) -> None:
    """Adds the service of an arbiter to a gRPC server."""
    servicer = GpuArbiterServicer(arbiter, first_frame_seconds=first_frame_seconds)
    gpu_pb2_grpc.add_GpuArbiterServiceServicer_to_server(servicer, server)
