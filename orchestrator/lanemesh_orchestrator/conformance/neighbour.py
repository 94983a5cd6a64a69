"""The driver as a neighbour that takes lanes: a server with `Exchange` and `ExchangeShort`, each call played by a check."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from lanemesh._grpc.server import GrpcServer
from lanemesh.v1 import fault_pb2, lane_pb2

from lanemesh_orchestrator.conformance.calls import serialize
from lanemesh_orchestrator.conformance.checks import WAIT_SECONDS, Miss, within
from lanemesh_orchestrator.conformance.frames import shown

LANE_SECONDS = 60.0
"""Longest that a lane of the driver lives."""

SERVICE = "lanemesh.v1.NodeService"


class TakenLane:
    """A lane that the server under test has opened. The check answers."""

    def __init__(self, opening: lane_pb2.LaneOpen, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.open = opening
        """Its first frame."""
        self.heartbeats = 0
        """Frames without content that have come."""
        self.half_closed = False
        """The producer has half-closed."""
        self.sent = 0
        """Items that the producer has sent, those with `open` included."""
        self.gone = asyncio.Event()
        """Set when the call has ended."""
        self.frame_sizes: list[int] = []
        """The number of items in each frame with items."""
        self._context = context
        self._closing: asyncio.Future[grpc.StatusCode | None] = asyncio.get_running_loop().create_future()
        self._frames: deque[lane_pb2.ExchangeRequest] = deque()
        self._news = asyncio.Condition()
        self._end: lane_pb2.LaneEnd | None = None

    async def accept(self, limit_items: int) -> None:
        """Sends `accepted`."""
        await self.send(lane_pb2.ExchangeResponse(accepted=lane_pb2.LaneAccepted(limit_items=limit_items)))

    async def credit(self, taken: int, limit_items: int, *, acknowledged: int = 0, arrived: int = 0) -> None:
        """Sends `credit`."""
        credit = lane_pb2.LaneCredit(
            taken_items=taken, limit_items=limit_items, acknowledged_items=acknowledged, arrived_items=arrived
        )
        await self.send(lane_pb2.ExchangeResponse(credit=credit))

    async def stop(self, reason: str = "enough", fault: fault_pb2.Fault | None = None) -> None:
        """Sends `stop`."""
        await self.send(lane_pb2.ExchangeResponse(stop=lane_pb2.LaneStop(reason=reason, fault=fault)))

    async def send(self, frame: Message | bytes) -> None:
        """Writes a frame, unless the call has ended."""
        if not self.gone.is_set():
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._context.write(frame)
            except (grpc.aio.BaseError, asyncio.InvalidStateError):
                self.gone.set()

    async def frame(self, expected: str, seconds: float = WAIT_SECONDS) -> lane_pb2.ExchangeRequest | None:
        """The next frame, without heartbeats; None at the half-close. Raises Miss if there is none in time."""
        return await within(expected, self._next(), seconds)

    async def _next(self) -> lane_pb2.ExchangeRequest | None:
        async with self._news:
            await self._news.wait_for(lambda: self._frames or self.half_closed)
        return self._frames.popleft() if self._frames else None

    async def _read(self) -> None:
        try:
            while isinstance(frame := await self._context.read(), lane_pb2.ExchangeRequest):
                await self._note(frame)
        except (grpc.aio.BaseError, DecodeError, asyncio.InvalidStateError):
            pass
        async with self._news:
            self.half_closed = True
            self._news.notify_all()

    async def _note(self, frame: lane_pb2.ExchangeRequest) -> None:
        if frame.WhichOneof("frame") is None:
            self.heartbeats += 1
            return
        if frame.HasField("items"):
            self.sent += len(frame.items.items)
            self.frame_sizes.append(len(frame.items.items))
        async with self._news:
            self._frames.append(frame)
            self._news.notify_all()

    async def items(self, count: int, seconds: float = WAIT_SECONDS) -> list[lane_pb2.Item]:
        """The next items: exactly so many. Raises Miss if the lane ends before, or brings more."""
        expected = f"{count} items on the lane {self.open.edge_id}"
        found: list[lane_pb2.Item] = []
        while len(found) < count:
            frame = await self.frame(expected, seconds)
            if frame is None or frame.WhichOneof("frame") != "items":
                raise Miss(expected, f"{len(found)} items and then {shown(frame)}")
            found.extend(frame.items.items)
            if frame.items.HasField("end"):
                self._end = frame.items.end
        if len(found) > count:
            raise Miss(expected, f"{len(found)} items")
        return found

    async def ended(self, seconds: float = WAIT_SECONDS) -> lane_pb2.LaneEnd:
        """The `end` of the lane, with the half-close after it. Raises Miss if something else comes."""
        expected = f"`end` of the lane {self.open.edge_id}"
        if self._end is None:
            frame = await self.frame(expected, seconds)
            if frame is None or frame.WhichOneof("frame") != "end":
                raise Miss(expected, shown(frame))
            self._end = frame.end
        after = await self.frame(f"the half-close after `end` of the lane {self.open.edge_id}", seconds)
        if after is not None:
            raise Miss("the half-close after `end`", shown(after))
        return self._end

    async def drained(self, *, window: int = 0, seconds: float = WAIT_SECONDS) -> list[lane_pb2.Item]:
        """All items until `end`, taken at once and credited with this window, if it is not 0. The end is for `ended`."""
        found: list[lane_pb2.Item] = []
        chunks = bytearray()
        while self._end is None:
            frame = await self.frame(f"items and `end` on the lane {self.open.edge_id}", seconds)
            match frame.WhichOneof("frame") if frame is not None else None:
                case "items":
                    assert frame is not None
                    found.extend(frame.items.items)
                    if frame.items.HasField("end"):
                        self._end = frame.items.end
                    if window:
                        await self.credit(len(found), window)
                case "chunk":
                    assert frame is not None
                    chunks += frame.chunk.content
                    self.chunked = bytes(chunks)
                case "end":
                    assert frame is not None
                    self._end = frame.end
                case _:
                    raise Miss(f"items and `end` on the lane {self.open.edge_id}", shown(frame))
        return found

    chunked: bytes = b""
    """The content of all chunks that `drained` has seen."""

    def finish(self, code: grpc.StatusCode | None = None) -> None:
        """Ends the call: with OK, or with a status."""
        if not self._closing.done():
            self._closing.set_result(code)

    async def served(self) -> None:
        """Waits until the check has ended the lane. Called by the handler of the call."""
        reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(LANE_SECONDS):
                code = await self._closing
            if code is not None:
                await self._context.abort(code, "the driver ends the lane")
        finally:
            self.gone.set()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class ShortCall:
    """An `ExchangeShort` call of the server under test."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context

    async def close(self, number: int) -> None:
        """Reports a lane as closed."""
        closed = lane_pb2.ShortLaneClosed(number=number)
        await self._context.write(lane_pb2.ExchangeShortResponse(closed=[closed]))


class Neighbour:
    """A server of the driver's to which the server under test opens lanes."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        """Binds a free port of this host."""
        self._grpc = GrpcServer(host, insecure=True)
        self.address = self._grpc.address
        """Where the server under test dials it."""
        self._lanes: dict[tuple[str, str], asyncio.Queue[TakenLane]] = {}
        self.short_lanes: asyncio.Queue[tuple[ShortCall, lane_pb2.ShortLane]] = asyncio.Queue(1000)
        """Short lanes that have come."""

    async def start(self) -> None:
        """Starts to listen."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Exchange": grpc.stream_stream_rpc_method_handler(
                self._exchange,
                request_deserializer=lane_pb2.ExchangeRequest.FromString,
                response_serializer=serialize,
            ),
            "ExchangeShort": grpc.stream_stream_rpc_method_handler(
                self._exchange_short,
                request_deserializer=lane_pb2.ExchangeShortRequest.FromString,
                response_serializer=lane_pb2.ExchangeShortResponse.SerializeToString,
            ),
        }
        self._grpc.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        await self._grpc.start([SERVICE])

    async def stop(self) -> None:
        """Ends every lane, and stops to listen."""
        await self._grpc.stop(0)

    async def lane(self, run_id: str, edge_id: str, seconds: float = WAIT_SECONDS) -> TakenLane:
        """The next lane of an edge. Raises Miss if it is not opened in time."""
        return await within(f"`open` of the lane {edge_id}", self._queue(run_id, edge_id).get(), seconds)

    def has_lane(self, run_id: str, edge_id: str) -> bool:
        """Whether a lane of an edge waits."""
        return not self._queue(run_id, edge_id).empty()

    async def short_lane(self, run_id: str, seconds: float = WAIT_SECONDS) -> tuple[ShortCall, lane_pb2.ShortLane]:
        """The next short lane of a run. Raises Miss if none comes in time."""

        async def find() -> tuple[ShortCall, lane_pb2.ShortLane]:
            while True:
                call, lane = await self.short_lanes.get()
                if lane.open.run_id == run_id:
                    return call, lane
                await self.short_lanes.put((call, lane))
                await asyncio.sleep(0.01)

        return await within("a lane by ExchangeShort", find(), seconds)

    def _queue(self, run_id: str, edge_id: str) -> asyncio.Queue[TakenLane]:
        return self._lanes.setdefault((run_id, edge_id), asyncio.Queue(16))

    async def _exchange(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        first = await context.read()
        if not isinstance(first, lane_pb2.ExchangeRequest) or first.WhichOneof("frame") != "open":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first frame of a lane must be `open`")
        assert isinstance(first, lane_pb2.ExchangeRequest)
        lane = TakenLane(first.open, context)
        if first.open.HasField("items"):
            lane.sent = len(first.open.items.items)
        self._queue(first.open.run_id, first.open.edge_id).put_nowait(lane)
        await lane.served()

    async def _exchange_short(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        call = ShortCall(context)
        while isinstance(frame := await context.read(), lane_pb2.ExchangeShortRequest):
            for lane in frame.lanes:
                await self.short_lanes.put((call, lane))
