"""NodeService over gRPC: a thin shell around a node host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

import grpc.aio

from lanemesh._grpc.first_frame import FIRST_FRAME_SECONDS, first_frame
from lanemesh._grpc.log_once import LogOnce, host_of_peer
from lanemesh._grpc.status import abort
from lanemesh._grpc.writing import write
from lanemesh.faults import LanemeshError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.grpc_receiver import GrpcReceiver
from lanemesh.lanes.transport.short_receiver import ShortLaneReceiver
from lanemesh.protocol import IDLE_FRAME_SECONDS, PROTOCOL_VERSION
from lanemesh.reasons import Reason
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.host_session import HostSession
from lanemesh.server.host.hosted_run import HostedRun
from lanemesh.v1 import lane_pb2, node_pb2, node_pb2_grpc

OPEN_SECONDS = 10.0
"""How long a new `Exchange` call may take to name its lane."""

HALF_CLOSE_SECONDS = 10.0
"""How long an orchestrator may take to half-close after the last frame."""

log = logging.getLogger("lanemesh.host")
refusals = LogOnce(log)


class NodeService(node_pb2_grpc.NodeServiceServicer):
    """Serves a node host to orchestrators and to the producers of its lanes."""

    def __init__(
        self, host: NodeHost, software_version: str = "", *, first_frame_seconds: float = FIRST_FRAME_SECONDS
    ) -> None:
        """`first_frame_seconds`: how long a new stream may take to send its first frame."""
        self._host = host
        self._first_frame_seconds = first_frame_seconds
        self._version = software_version

    async def Describe(
        self,
        request: node_pb2.DescribeRequest,
        context: grpc.aio.ServicerContext[node_pb2.DescribeRequest, node_pb2.DescribeResponse],
    ) -> node_pb2.DescribeResponse:
        """Lists the node types."""
        await self._host.refresh_or_keep()
        return node_pb2.DescribeResponse(
            manifests=self._host.manifests(),
            protocol_version=PROTOCOL_VERSION,
            software_version=self._version,
            features=sorted(self._host.features),
            instance_id=self._host.instance_id,
        )

    async def Host(  # type: ignore[override]
        self,
        request_iterator: object,
        context: grpc.aio.ServicerContext[node_pb2.HostRequest, node_pb2.HostResponse],
    ) -> None:
        """Runs the instances of one run after the other, for as long as the stream lives."""
        first = await first_frame(context, "`place`", self._first_frame_seconds)
        if not isinstance(first, node_pb2.HostRequest):
            return
        session = self._host.session(reusable=True)
        reader = asyncio.create_task(self._read(session, context, first), name="host reader")
        beat = asyncio.create_task(self._beat(session), name="host heartbeat")
        try:
            async for response in session.responses():
                await write(context, response)
            if not session.ended_spare:  # an earlier end would break a write of the orchestrator
                await asyncio.wait([reader], timeout=HALF_CLOSE_SECONDS)
        finally:
            for task in (reader, beat):
                task.cancel()
            await asyncio.gather(reader, beat, return_exceptions=True)
            await session.close()

    async def _read(
        self,
        session: HostSession,
        context: grpc.aio.ServicerContext[node_pb2.HostRequest, node_pb2.HostResponse],
        first: node_pb2.HostRequest,
    ) -> None:
        try:
            session.handle(first)
            with contextlib.suppress(grpc.RpcError):
                while True:
                    request = await context.read()
                    if not isinstance(request, node_pb2.HostRequest):
                        break
                    if session.is_over and request.HasField("place"):
                        break  # the orchestrator places the run again when it sees the end of the stream
                    session.handle(request)
        except Exception:  # an invalid frame: without a reader no further run of the stream would be placed
            log.exception("what an orchestrator sent")
        await session.close()  # a half-close and a loss have the same effect: the orchestrator disconnected

    async def _beat(self, session: HostSession) -> None:
        while True:
            await asyncio.sleep(IDLE_FRAME_SECONDS)
            await session.send(node_pb2.HostResponse())

    async def Exchange(  # type: ignore[override]
        self,
        request_iterator: object,
        context: grpc.aio.ServicerContext[lane_pb2.ExchangeRequest, lane_pb2.ExchangeResponse],
    ) -> None:
        """Accepts the items of one lane."""
        first = await first_frame(context, "`open`", min(OPEN_SECONDS, self._first_frame_seconds))
        if not isinstance(first, lane_pb2.ExchangeRequest) or first.WhichOneof("frame") != "open":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first frame of a lane must be `open`")
        assert isinstance(first, lane_pb2.ExchangeRequest)
        try:
            edge, run = self._accepted(first.open, context.peer())
        except LanemeshError as error:
            await abort(context, error.fault)
        items = first.open.items if first.open.HasField("items") else None
        receiver = GrpcReceiver(edge, run.lane_type(edge), context, cancelling=lambda: run.cancelling, first=items)
        await receiver.serve()

    async def ExchangeShort(  # type: ignore[override]
        self,
        request_iterator: object,
        context: grpc.aio.ServicerContext[lane_pb2.ExchangeShortRequest, lane_pb2.ExchangeShortResponse],
    ) -> None:
        """Accepts whole lanes, until the caller half-closes or the host closes."""
        first = await first_frame(context, "lane", self._first_frame_seconds)
        if not isinstance(first, lane_pb2.ExchangeShortRequest):
            return
        receiver = ShortLaneReceiver(context, partial(self._accept_short, context.peer()), first)
        with self._host.ending_at_close(receiver.end):
            await receiver.serve()

    def _accept_short(self, peer: str | None, opening: lane_pb2.LaneOpen) -> tuple[Edge, LaneType, Callable[[], bool]]:
        edge, run = self._accepted(opening, peer)
        return edge, run.lane_type(edge), lambda: run.cancelling

    def _accepted(self, opening: lane_pb2.LaneOpen, peer: str | None) -> tuple[Edge, HostedRun]:
        """As `NodeHost.accept`; logs a lane that does not belong to its run."""
        try:
            return self._host.accept(opening)
        except LanemeshError as error:
            if error.fault.reason == Reason.WRONG_LANE_KEY:
                refusals.warning(host_of_peer(peer), "from %s: %s", peer, error.fault.message)
            raise
