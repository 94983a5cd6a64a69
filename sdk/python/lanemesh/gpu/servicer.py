"""`GpuArbiterService`: gRPC streams before the arbiter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from lanemesh._grpc.first_frame import FIRST_FRAME_SECONDS
from lanemesh.gpu.arbiter import GpuArbiter
from lanemesh.gpu.served_call import ServedCall
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

MAX_WATCHERS = 64
"""Most calls of `Watch` at a time."""


class GpuArbiterServicer(gpu_pb2_grpc.GpuArbiterServiceServicer):
    """Serves one arbiter."""

    def __init__(self, arbiter: GpuArbiter, *, first_frame_seconds: float = FIRST_FRAME_SECONDS) -> None:
        """`first_frame_seconds`: how long a holder may take to send a request on a call without a lease."""
        self._first_frame_seconds = first_frame_seconds
        self._arbiter = arbiter
        self._calls: set[ServedCall] = set()
        self._watchers = 0

    def close(self) -> None:
        """Ends the calls that carry no lease. Those of leases end when the arbiter is closed."""
        for call in self._calls:
            call.close()

    async def Lease(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[gpu_pb2.LeaseRequest],
        context: grpc.aio.ServicerContext[gpu_pb2.LeaseRequest, gpu_pb2.LeaseResponse],
    ) -> None:
        call = ServedCall(self._arbiter, context, self._first_frame_seconds)
        self._calls.add(call)
        try:
            await call.serve()
        finally:
            self._calls.discard(call)

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


def serve_arbiter(
    arbiter: GpuArbiter, server: grpc.aio.Server, *, first_frame_seconds: float = FIRST_FRAME_SECONDS
) -> GpuArbiterServicer:
    """Adds the service of an arbiter to a gRPC server. The caller closes it."""
    servicer = GpuArbiterServicer(arbiter, first_frame_seconds=first_frame_seconds)
    gpu_pb2_grpc.add_GpuArbiterServiceServicer_to_server(servicer, server)
    return servicer
