"""The two ends of a lane by hand: a producer that sends whatever bytes it likes, a consumer that looks at every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc.aio
from lanemesh._grpc.connections import SERVER_OPTIONS, dial
from lanemesh._grpc.status import fault_of
from lanemesh.faults import Fault
from lanemesh.items import LaneType
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import lane_pb2

EXCHANGE = "/lanemesh.v1.NodeService/Exchange"


def opening(run_id: str, edge_id: str, lane_type: LaneType = LaneType.TEXT, **fields: Any) -> lane_pb2.ExchangeRequest:
    """The first frame of a lane."""
    fields = {"protocol_version": PROTOCOL_VERSION, **fields}
    return lane_pb2.ExchangeRequest(
        open=lane_pb2.LaneOpen(run_id=run_id, edge_id=edge_id, lane_type=lane_type.wire, **fields)
    )


def texts(*values: str) -> lane_pb2.ExchangeRequest:
    """A frame of texts."""
    return lane_pb2.ExchangeRequest(items=lane_pb2.LaneItems(items=[lane_pb2.Item(text=value) for value in values]))


def payload(**fields: Any) -> lane_pb2.ExchangeRequest:
    """A frame of one item."""
    return lane_pb2.ExchangeRequest(items=lane_pb2.LaneItems(items=[lane_pb2.Item(**fields)]))


def end(count: int, fault: Fault | None = None) -> lane_pb2.ExchangeRequest:
    """The last frame of a lane."""
    return lane_pb2.ExchangeRequest(
        end=lane_pb2.LaneEnd(item_count=count, outcome=fault.to_proto() if fault is not None else None)
    )


def chunk(content: bytes) -> lane_pb2.ExchangeRequest:
    """A part of a media value."""
    return lane_pb2.ExchangeRequest(chunk=lane_pb2.LaneChunk(content=content))


class RawLane:
    """The producer end of a lane, by hand."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call: Any = channel.stream_stream(EXCHANGE, response_deserializer=lane_pb2.ExchangeResponse.FromString)()

    async def send(self, *frames: lane_pb2.ExchangeRequest | bytes) -> None:
        """Sends frames, or bytes that are none. What the server no longer wants is lost without a word."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for frame in frames:
                await self.call.write(frame if isinstance(frame, bytes) else frame.SerializeToString())

    async def accepted(self) -> int:
        """Waits until the lane is accepted. Returns its limit in items."""
        response = await self.call.read()
        assert response.WhichOneof("frame") == "accepted", response
        return int(response.accepted.limit_items)

    async def next_frame(self) -> lane_pb2.ExchangeResponse:
        """Waits for what the consumer says next."""
        response = await self.call.read()
        assert isinstance(response, lane_pb2.ExchangeResponse), "the call has ended"
        return response

    async def half_close(self) -> None:
        """Says that nothing more comes."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.done_writing()

    async def status(self) -> tuple[grpc.StatusCode, Fault | None, str]:
        """Waits until the call has ended. Returns its code, the fault that came with it, and the plain message."""
        try:
            while await self.call.read() is not grpc.aio.EOF:
                pass
            fault = None
        except grpc.aio.AioRpcError as error:
            fault = fault_of(error)
        return await self.call.code(), fault, await self.call.details() or ""


@asynccontextmanager
async def raw_channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A connection for lanes by hand."""
    channel = dial(address)
    try:
        yield channel
    finally:
        await channel.close()


class Recorder(grpc.GenericRpcHandler):
    """A consumer that accepts lanes and keeps every frame as it came."""

    def __init__(self, limit_items: int = 4096, *, answers: bool = True) -> None:
        self.frames: list[bytes] = []
        self.answers = answers
        """It accepts lanes; otherwise it never says anything."""
        self.opened = asyncio.Event()
        self._limit_items = limit_items

    def service(self, handler_call_details: Any) -> Any:
        """Everything is an `Exchange`."""
        return grpc.stream_stream_rpc_method_handler(
            self._exchange, response_serializer=lane_pb2.ExchangeResponse.SerializeToString
        )

    async def _exchange(self, requests: object, context: Any) -> None:
        await context.read()
        self.opened.set()
        if not self.answers:
            await asyncio.Event().wait()
        accepted = lane_pb2.LaneAccepted(limit_items=self._limit_items)
        await context.write(lane_pb2.ExchangeResponse(accepted=accepted))
        taken = 0
        while (raw := await context.read()) is not grpc.aio.EOF:
            self.frames.append(raw)
            taken += len(lane_pb2.ExchangeRequest.FromString(raw).items.items)
            credit = lane_pb2.LaneCredit(taken_items=taken, limit_items=self._limit_items)
            await context.write(lane_pb2.ExchangeResponse(credit=credit))


@asynccontextmanager
async def serving(recorder: Recorder, **options: int) -> AsyncIterator[str]:
    """The address of a server of a recorder."""
    more = [(f"grpc.{name}", value) for name, value in options.items()]
    server = grpc.aio.server(options=[*SERVER_OPTIONS, *more])
    server.add_generic_rpc_handlers((recorder,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
