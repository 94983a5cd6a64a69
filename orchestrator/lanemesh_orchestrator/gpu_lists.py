"""What the GPU arbiter of a mesh lists, for clients of the orchestrator, which need not know the arbiter's address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc.aio
from lanemesh._grpc.status import abort
from lanemesh.faults import LanemeshError
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

if TYPE_CHECKING:
    from lanemesh.gpu import ArbiterLink


ELSEWHERE = (
    "the orchestrator only lists GPUs; lease and watch them at the GPU arbiter, whose address it sends to node servers"
)
"""Why calls are refused."""


class GpuLists(gpu_pb2_grpc.GpuArbiterServiceServicer):
    """Passes the lists of the arbiter on. Leases are taken from the arbiter itself: `Lease` and `Watch` are UNIMPLEMENTED here."""

    def __init__(self, link: Callable[[], ArbiterLink]) -> None:
        """`link` is the link to the arbiter of the mesh."""
        self._link = link

    async def Lease(
        self, request_iterator: AsyncIterator[gpu_pb2.LeaseRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[gpu_pb2.LeaseResponse]:
        """Not here."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, ELSEWHERE)
        yield gpu_pb2.LeaseResponse()

    async def Watch(
        self, request: gpu_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[gpu_pb2.WatchResponse]:
        """Not here."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, ELSEWHERE)
        yield gpu_pb2.WatchResponse()

    async def ListDevices(
        self, request: gpu_pb2.ListDevicesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> gpu_pb2.ListDevicesResponse:
        """The devices."""
        try:
            return gpu_pb2.ListDevicesResponse(devices=await self._link().status())
        except LanemeshError as error:
            await abort(context, error.fault)

    async def ListLeases(
        self, request: gpu_pb2.ListLeasesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> gpu_pb2.ListLeasesResponse:
        """The leases and requests."""
        try:
            return gpu_pb2.ListLeasesResponse(leases=await self._link().leases(request.run_id))
        except LanemeshError as error:
            await abort(context, error.fault)

    async def Explain(
        self, request: gpu_pb2.ExplainRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> gpu_pb2.ExplainResponse:
        """Why requests wait."""
        try:
            return gpu_pb2.ExplainResponse(explanations=await self._link().explain(request))
        except LanemeshError as error:
            await abort(context, error.fault)
