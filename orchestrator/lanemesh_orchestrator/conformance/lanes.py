"""The driver as a producer: one lane to the server under test."""

from __future__ import annotations

from collections.abc import Iterable

import grpc.aio
from lanemesh.v1 import fault_pb2, lane_pb2

from lanemesh_orchestrator.conformance.calls import StreamCall
from lanemesh_orchestrator.conformance.checks import WAIT_SECONDS, Miss, expect
from lanemesh_orchestrator.conformance.frames import shown

EXCHANGE = "/lanemesh.v1.NodeService/Exchange"


class GivenLane(StreamCall[lane_pb2.ExchangeResponse]):
    """A lane that the driver opens."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Starts the call; nothing is sent."""
        super().__init__(channel, EXCHANGE, lane_pb2.ExchangeResponse.FromString)
        self.sent = 0
        """Items that were sent."""

    async def open(self, opening: lane_pb2.LaneOpen) -> int:
        """Opens the lane, and returns the limit in items of `accepted`. Raises Miss if it is not accepted."""
        await self.send(lane_pb2.ExchangeRequest(open=opening))
        frame = await self.next("`accepted`")
        if frame is None:
            raise Miss("`accepted`", f"the end of the call with {await self.described()}")
        expect(frame.WhichOneof("frame") == "accepted", "`accepted`", shown(frame))
        return frame.accepted.limit_items

    async def texts(self, *texts: str) -> None:
        """Sends texts in one frame."""
        await self.items([lane_pb2.Item(text=text) for text in texts])

    async def items(self, items: Iterable[lane_pb2.Item]) -> None:
        """Sends items in one frame."""
        frame = lane_pb2.LaneItems(items=items)
        self.sent += len(frame.items)
        await self.send(lane_pb2.ExchangeRequest(items=frame))

    async def end(self, count: int | None = None, outcome: fault_pb2.Fault | None = None) -> None:
        """Sends `end`, with the number of items that were sent unless another one is given, and half-closes."""
        end = lane_pb2.LaneEnd(item_count=self.sent if count is None else count, outcome=outcome)
        await self.send(lane_pb2.ExchangeRequest(end=end))
        await self.half_close()

    @property
    def taken(self) -> int:
        """The latest `taken_items` of a credit."""
        return max((frame.credit.taken_items for frame in self.frames if frame.HasField("credit")), default=0)

    @property
    def stops(self) -> list[lane_pb2.LaneStop]:
        """The `stop` frames that have come."""
        return [frame.stop for frame in self.frames if frame.HasField("stop")]

    async def stopped(self, seconds: float = WAIT_SECONDS) -> lane_pb2.LaneStop:
        """The `stop` of the consumer. Raises Miss if there is none in time."""
        await self.until(lambda: bool(self.stops), "`stop`", seconds)
        return self.stops[0]
