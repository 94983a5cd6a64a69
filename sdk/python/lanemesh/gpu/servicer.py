"""`GpuArbiterService`: gRPC streams before the arbiter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from lanemesh._grpc.first_frame import FIRST_FRAME_SECONDS, late
from lanemesh._grpc.status import abort
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

    async def Lease(
        self,
        request_iterator: AsyncIterator[gpu_pb2.LeaseRequest],
        context: grpc.aio.ServicerContext[gpu_pb2.LeaseRequest, gpu_pb2.LeaseResponse],
    ) -> AsyncIterator[gpu_pb2.LeaseResponse]:
        outbox = Outbox(gpu_pb2.LeaseResponse())
        stream = self._arbiter.open(lambda frame: outbox.finish() if frame is None else outbox.put(frame))
        read = _read(request_iterator, stream, outbox, self._first_frame_seconds)
        reading = asyncio.create_task(read, name="gpu-arbiter-reader")
        try:
            async for frame in outbox:
                yield frame
            await asyncio.wait({reading}, timeout=HALF_CLOSE_TIMEOUT)
        finally:
            stream.lose()
            outbox.finish()
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


async def _read(
    requests: AsyncIterator[gpu_pb2.LeaseRequest],
    stream: ArbiterStream,
    outbox: Outbox[gpu_pb2.LeaseResponse],
    first_frame_seconds: float,
) -> Fault | None:
    """Passes the holder's frames to the arbiter until it half-closes or disconnects. Returns its protocol error, if there is
    one."""
    breach = None
    frames = aiter(requests)
    try:
        try:
            async with asyncio.timeout(first_frame_seconds):
                frame = await anext(frames, None)
        except TimeoutError:
            return late("request", first_frame_seconds)
        while frame is not None:
            if breach is None:
                try:
                    stream.send(frame)
                except ValueError as error:
                    breach = Fault(code=Code.INVALID_ARGUMENT, reason="bad-lease-frame", message=str(error))
                    outbox.finish()
            frame = await anext(frames, None)
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
