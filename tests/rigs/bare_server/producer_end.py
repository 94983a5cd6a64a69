"""The producer's end of a lane on the bare server: over gRPC, or into an edge of the same server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio
from lanemesh.v1 import lane_pb2, node_pb2, node_pb2_grpc

from rigs.bare_server.consumer_end import Edge
from rigs.bare_server.faults import ENDED, LANE_BROKEN, OPTIONS, Down, Fault, Up, consequence, fault


class Lane:
    """The producer's end of a lane: over gRPC, or into an edge of this server."""

    def __init__(self, run_id: str, spec: node_pb2.Edge, inside: Edge | None) -> None:
        self.run_id, self.spec, self.inside = run_id, spec, inside
        self.sent = self.taken = self.limit = 0
        self.stopped = self.end_sent = False
        self.fault: Fault | None = None
        self.news = asyncio.Condition()
        self.writing = asyncio.Lock()
        self.call: Any = None
        self.channel: grpc.aio.Channel | None = None
        self.reader: asyncio.Task[None] | None = None

    async def open(self) -> Fault | None:
        """Opens the lane. Returns the fault that prevents it."""
        if self.inside is not None:
            return None
        self.channel = grpc.aio.insecure_channel(self.spec.consumer_address, options=OPTIONS)
        self.call = node_pb2_grpc.NodeServiceStub(self.channel).Exchange()
        self.reader = asyncio.create_task(self._read())
        opening = lane_pb2.LaneOpen(
            run_id=self.run_id, edge_id=self.spec.id, lane_type=self.spec.lane_type, incarnation=self.spec.incarnation
        )
        with contextlib.suppress(*ENDED):
            await self.call.write(Down(open=opening))
        try:
            async with asyncio.timeout(10), self.news:
                await self.news.wait_for(lambda: self.limit or self.fault is not None)
        except TimeoutError:
            self.fault = fault(4, LANE_BROKEN, "the consumer did not accept the lane within 10 s")
            self.call.cancel()
        if self.fault is not None:
            where: dict[str, Any] = {"lane": self.spec.id, "address": self.spec.consumer_address}
            return fault(self.fault.code, "lane-refused", self.fault.message, secondary=True, **where)
        return None

    async def emit(self, item: lane_pb2.Item) -> bool:
        """Sends an item when there is capacity. Returns False if the lane accepts no more."""
        if self.inside is not None:
            edge = self.inside
            async with edge.port.news:
                await edge.port.news.wait_for(lambda: edge.stopped or edge.arrived - edge.taken < edge.limit)
            if edge.stopped:
                self.stopped, self.fault = True, edge.stop_fault
                return False
            self.sent += 1
            await edge.put([item])
            return True
        async with self.news:
            await self.news.wait_for(lambda: self.stopped or self.sent - self.taken < self.limit)
        if self.stopped:
            return False
        await asyncio.shield(asyncio.ensure_future(self._write(item)))  # a cancelled write would end the call
        return not self.stopped

    async def _write(self, item: lane_pb2.Item) -> None:
        async with self.writing:
            if not self.end_sent:
                self.sent += 1
                with contextlib.suppress(*ENDED):
                    await self.call.write(Down(items=lane_pb2.LaneItems(items=[item])))

    async def end(self, outcome: Fault | None = None) -> None:
        """Sends `end` and half-closes, once."""
        if self.inside is not None:
            await self.inside.end(outcome)
        elif self.call is not None:
            async with self.writing:
                if self.end_sent:
                    return
                self.end_sent = True
                with contextlib.suppress(*ENDED):
                    await self.call.write(Down(end=lane_pb2.LaneEnd(item_count=self.sent, outcome=outcome)))
                    await self.call.done_writing()

    async def closed(self, seconds: float | None = None) -> None:
        """Waits for the status; after `seconds` the call is cancelled."""
        if self.reader is not None:
            await asyncio.wait([self.reader], timeout=seconds)
            self.call.cancel()
            await asyncio.wait([self.reader])
        if self.channel is not None:
            await self.channel.close()

    async def _read(self) -> None:
        with contextlib.suppress(*ENDED):
            while isinstance(frame := await self.call.read(), Up):
                async with self.news:
                    match frame.WhichOneof("frame"):
                        case "accepted":
                            self.limit = frame.accepted.limit_items
                        case "credit":
                            self.taken = frame.credit.taken_items
                            self.limit = max(self.limit, frame.credit.limit_items)
                        case "stop" if not self.end_sent:
                            self.stopped = True
                            if frame.stop.HasField("fault"):
                                self.fault = consequence(frame.stop.fault)
                    self.news.notify_all()
                if self.stopped:
                    await self.end()
            if frame is not grpc.aio.EOF:
                self.call.cancel()
        code = await self.call.code()
        async with self.news:
            if self.fault is None and not (code is grpc.StatusCode.OK and self.end_sent):
                number = 14 if code.value[0] in (0, 1, 2, 13) else code.value[0]
                why = await self.call.details() or "the connection is gone"
                self.fault = fault(number, LANE_BROKEN, why, secondary=True, lane=self.spec.id)
            self.stopped = True
            self.news.notify_all()
