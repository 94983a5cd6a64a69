"""The consumer's end of a lane on the bare server: what an input has brought, and the credit for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from lanemesh.v1 import lane_pb2, node_pb2

from rigs.bare_server.faults import INVALID, LANE_BROKEN, Down, Failed, Fault, Refused, Up, consequence, fault


class Input:
    """What all edges of one input have brought, in the order of arrival."""

    def __init__(self) -> None:
        self.edges: list[Edge] = []
        self.waiting: deque[tuple[Edge, lane_pb2.Item]] = deque()
        self.news = asyncio.Condition()

    async def next(self) -> lane_pb2.Item | None:
        """The next item; None at the end. Raises Failed where an edge has ended with a fault."""
        async with self.news:
            await self.news.wait_for(lambda: self.waiting or all(edge.ended for edge in self.edges))
            if self.waiting:
                edge, item = self.waiting.popleft()
                edge.taken += 1
                edge.held -= item.ByteSize() + 16
                self.news.notify_all()
                return item
        broken = next((edge.fault for edge in self.edges if edge.fault is not None), None)
        if broken is not None:
            raise Failed(consequence(broken))
        return None

    async def stop(self, cause: Fault | None) -> None:
        async with self.news:
            for edge in self.edges:
                if not edge.stopped:
                    edge.stopped, edge.stop_fault = True, cause
                    edge.taken, edge.held = edge.arrived, 0
            self.waiting.clear()
            self.news.notify_all()


class Edge:
    """The consumer's end of a lane."""

    def __init__(self, spec: node_pb2.Edge, port: Input) -> None:
        self.spec, self.port = spec, port
        self.arrived = self.taken = self.reported = self.held = 0
        self.opened = self.ended = self.stopped = False
        self.fault: Fault | None = None
        self.stop_fault: Fault | None = None
        port.edges.append(self)

    @property
    def limit(self) -> int:
        return max(1, self.spec.limit_items)

    async def put(self, items: Sequence[lane_pb2.Item]) -> None:
        async with self.port.news:
            self.arrived += len(items)
            if self.stopped:
                self.taken = self.arrived
            else:
                self.held += sum(item.ByteSize() + 16 for item in items)
                self.port.waiting.extend((self, item) for item in items)
            self.port.news.notify_all()

    async def end(self, cause: Fault | None) -> None:
        async with self.port.news:
            if not self.ended:
                self.ended, self.fault = True, cause
            self.port.news.notify_all()

    async def serve(self, context: Any, cancelling: Callable[[], bool]) -> None:
        """Takes the lane from `accepted` to its status."""
        await context.write(Up(accepted=lane_pb2.LaneAccepted(limit_items=self.limit)))
        granting = asyncio.create_task(self._grant(context))
        try:
            await self._read(context, cancelling)
            async with self.port.news:
                await self.port.news.wait_for(lambda: self.taken >= self.arrived)
        except (Refused, DecodeError) as error:
            granting.cancel()
            await asyncio.wait([granting])
            cause = fault(INVALID, LANE_BROKEN, str(error), secondary=True, lane=self.spec.id)
            await self.end(cause)
            await context.write(Up(stop=lane_pb2.LaneStop(reason=str(error), fault=cause)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    while await context.read() is not grpc.aio.EOF:
                        pass
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except asyncio.CancelledError:
            code = 1 if cancelling() else 14
            await self.end(fault(code, LANE_BROKEN, "the call broke", secondary=True, lane=self.spec.id))
            raise
        finally:
            granting.cancel()

    async def _read(self, context: Any, cancelling: Callable[[], bool]) -> None:
        chunks = bytearray()
        while isinstance(frame := await context.read(), Down):
            match frame.WhichOneof("frame"):
                case "items":
                    if self.ended:
                        raise Refused("items after the end")
                    if self.arrived - self.taken + len(frame.items.items) > self.limit:
                        raise Refused("more items than the window")
                    for item in frame.items.items:
                        _check(item, chunks)
                    await self.put(frame.items.items)
                    async with self.port.news:
                        await self.port.news.wait_for(lambda: self.held < self.spec.limit_bytes or self.stopped)
                case "chunk":
                    chunks += frame.chunk.content
                case "end" if not self.ended:
                    if chunks and not frame.end.outcome.code:
                        raise Refused("the end came after chunks")
                    await self._take_end(frame.end)
                case "open":
                    raise Refused("a second open")
        if not self.ended:
            await asyncio.sleep(0.5)
            code = 1 if cancelling() else 15
            await self.end(fault(code, LANE_BROKEN, "no end came", secondary=True, lane=self.spec.id))

    async def _take_end(self, end: lane_pb2.LaneEnd) -> None:
        if end.outcome.code:
            await self.end(consequence(end.outcome))
        elif end.item_count != self.arrived:
            message = f"{self.arrived} of {end.item_count} items came"
            await self.end(fault(15, LANE_BROKEN, message, secondary=True, lane=self.spec.id))
        else:
            await self.end(None)

    @property
    def has_news(self) -> bool:
        """There is something to report to the producer."""
        return self.stopped or self.taken > self.reported

    @property
    def is_due(self) -> bool:
        """Half a window was taken, or the producer is out of credit."""
        return self.taken - self.reported >= max(1, self.limit // 2) or self.arrived - self.reported >= self.limit

    async def _grant(self, context: Any) -> None:
        while True:
            async with self.port.news:
                await self.port.news.wait_for(lambda: self.has_news)
                if not self.stopped and not self.is_due:
                    await self.port.news.wait()
                    continue
                stops, self.reported = self.stopped, self.taken
            if self.ended:
                return
            if stops:
                await context.write(Up(stop=lane_pb2.LaneStop(reason="enough", fault=self.stop_fault)))
                return
            await context.write(Up(credit=lane_pb2.LaneCredit(taken_items=self.reported, limit_items=self.limit)))


def _check(item: lane_pb2.Item, chunks: bytearray) -> None:
    """Raises Refused if this is no item of a lane of texts."""
    kind = item.WhichOneof("payload")
    if kind is None and not (item.HasField("group") or item.HasField("lineage")):
        raise Refused("an item without a value")
    if kind not in (None, "text") or chunks:
        raise Refused(f"{kind} on a lane of texts")
