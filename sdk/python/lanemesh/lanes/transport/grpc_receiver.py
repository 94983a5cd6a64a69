"""The consumer end of a lane over gRPC: reads while its inbox has capacity, and grants credit for items that the node takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from lanemesh.faults import Code, Fault
from lanemesh.items import ITEM_OVERHEAD_BYTES, MAX_MEDIA_BYTES, LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.credit_writer import Context, CreditWriter
from lanemesh.lanes.transport.frames import plain_texts, read_items
from lanemesh.v1 import lane_pb2

BREAK_GRACE_SECONDS = 0.5
"""How long a receiver waits, after an end of file without `end`, for a report that the call broke. A cancel, a killed peer and
a closed channel all look like a clean end of file at first."""

GO_AHEAD_ITEMS = 8
"""With at most so many waiting items, a receiver lets their node run before the next read, for latency and not throughput."""

DISCARD_SECONDS = 5.0
"""How long a producer that broke the protocol may continue before the receiver ends the call."""


class ProtocolViolation(Exception):
    """A frame violates the protocol of the lane. Only the lane fails."""


class GrpcReceiver:
    """Serves one accepted `Exchange` call, into one edge of an inbox.

    It never ends the call before the producer has half-closed: a producer that writes would get an early OK as INTERNAL.
    """

    def __init__(
        self,
        edge: Edge,
        lane_type: LaneType,
        context: Context,
        *,
        cancelling: Callable[[], bool],
        first: lane_pb2.LaneItems | None = None,
    ) -> None:
        """`first` are the items that came with `open`."""
        self._edge = edge
        self._first = first
        self._lane_type = lane_type
        self._context = context
        self._cancelling = cancelling
        self._received = 0
        self._inherited = edge.buffered_items
        """Items that an earlier lane of the edge had delivered and that were waiting when this lane was opened."""
        self._task: asyncio.Task[None] | None = None
        self._is_cut = False
        self._writer = CreditWriter(edge, context)
        self._chunks: list[bytes] = []
        self._chunk_bytes = 0

    async def serve(self) -> None:
        """Accepts the lane, and returns when every item was taken or discarded. The status of the call is then OK.

        The edge is ended in every case: cleanly, with the producer's fault, or with a fault that describes how the lane broke.
        Only an edge whose producer is recoverable outlives a broken call.
        """
        edge = self._edge
        if edge.reopening is not None:
            self._task = asyncio.current_task()
            edge.reopening.cut = self._cut
        answers = asyncio.create_task(self._writer.run(), name=f"lane {edge.id} credit")
        try:
            try:
                await self._read()
            except Exception as error:  # a violation, or protobuf's error for bytes that are not a frame
                known = isinstance(error, ProtocolViolation)
                await self._refuse(str(error) if known else f"{type(error).__name__}: {error}", answers)
            self._writer.half_close()
            await answers
            if edge.committed is not None and edge.stop_fault is not None and edge.stop_fault.code is Code.CANCELLED:
                # Its recoverable consumer was abandoned, but the run was not: the status OK would mean that all items are
                # committed.
                why = f"lane {edge.id}: its consumer was cancelled"
                await self._context.abort(grpc.StatusCode.UNAVAILABLE, why)
        except asyncio.CancelledError:
            if self._is_cut and self._task is not None:
                self._task.uncancel()
                await _ended(answers)
                await self._context.abort(grpc.StatusCode.UNAVAILABLE, f"lane {edge.id}: its producer counts as lost")
            self._broken("the connection is gone")
            raise
        finally:
            await _ended(answers)

    async def _refuse(self, why: str, answers: asyncio.Task[None]) -> None:
        """Fails the lane: sends `stop`, discards further items, and then fails the call. No write is in progress at that time."""
        refusal = self._fault(Code.INVALID_ARGUMENT, why)
        self._edge.end(refusal)
        self._writer.refuse(refusal)
        discarding = asyncio.create_task(self._discard(), name=f"lane {self._edge.id} discard")
        try:
            await asyncio.wait([discarding, answers], timeout=DISCARD_SECONDS)
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"lane {self._edge.id}: {why}")
        finally:
            await _ended(discarding)

    async def _discard(self) -> None:
        while True:
            try:
                if not isinstance(await self._context.read(), lane_pb2.ExchangeRequest):
                    return
            except DecodeError:
                continue

    async def _read(self) -> None:
        edge, writer = self._edge, self._writer
        if self._first is not None:
            self._take_in(self._first)
            await self._go_ahead()
        while isinstance(frame := await self._context.read(), lane_pb2.ExchangeRequest):  # else the end of file
            match frame.WhichOneof("frame"):
                case "items":
                    self._take_in(frame.items)
                case "chunk":
                    self._take_chunk(frame.chunk.content)
                case "end":
                    self._end(frame.end)
                case "open":
                    raise ProtocolViolation("a second `open` came on it")
            if writer.is_due:
                writer.work.fire()
            await self._go_ahead()
        if not edge.ended:
            await asyncio.sleep(BREAK_GRACE_SECONDS)  # a broken call cancels this task meanwhile
            self._lost(Code.DATA_LOSS, f"it was closed without `end` after {self._received} items")
            self._cut_if_lost()

    async def _go_ahead(self) -> None:
        """Returns when the next frame may be read."""
        edge = self._edge
        if edge.buffered_bytes >= edge.limit_bytes:
            await self._hold_back()
        elif edge.buffered_items <= GO_AHEAD_ITEMS:
            # Starting the next read takes as long as the node and its next lane need for an item: let them run first.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def _hold_back(self) -> None:
        """Leaves frames in the stream, where HTTP/2 flow control holds the producer back, until the node has taken some items."""
        edge, writer = self._edge, self._writer
        writer.holding_back = True
        writer.work.fire()  # so that the next take wakes this task
        while edge.buffered_bytes >= edge.limit_bytes and not edge.stopped:
            await writer.space.wait()
        writer.holding_back = False

    def _take_in(self, items: lane_pb2.LaneItems) -> None:
        if not items.HasField("end"):
            self._take_items(items)
            return
        end = lane_pb2.LaneEnd()
        end.CopyFrom(items.end)
        items.ClearField("end")
        if items.items:
            self._take_items(items)
        self._end(end)

    def _take_items(self, items: lane_pb2.LaneItems) -> None:
        edge = self._edge
        if edge.ended:
            raise ProtocolViolation("items arrived after the end")
        count = len(items.items)
        self._received += count
        if edge.stopped:
            edge.arrived += count
            edge.discarded += count
            return
        under_way = edge.buffered_items + count
        if under_way > edge.limit_items + self._inherited:
            raise ProtocolViolation(f"{under_way} items are in transit; the limit is {edge.limit_items}")
        texts = plain_texts(items) if self._lane_type is LaneType.TEXT and not self._chunks else None
        if texts is not None:
            edge.put_plain(texts, ITEM_OVERHEAD_BYTES)
            return
        try:
            for item in read_items(self._lane_type, items, self._joined_chunks()):
                edge.put(*(item if edge.reopening is None else edge.reopening.first(item)))
        except ValueError as error:
            raise ProtocolViolation(str(error)) from None

    def _take_chunk(self, content: bytes) -> None:
        self._chunk_bytes += len(content)
        if self._chunk_bytes > MAX_MEDIA_BYTES:
            raise ProtocolViolation(f"more than {MAX_MEDIA_BYTES:,} bytes of chunks arrived for one item")
        if not self._edge.stopped:
            self._chunks.append(content)

    def _joined_chunks(self) -> bytes:
        whole = b"".join(self._chunks)
        self._chunks.clear()
        self._chunk_bytes = 0
        return whole

    def _end(self, end: lane_pb2.LaneEnd) -> None:
        edge = self._edge
        if edge.ended:
            return
        fault = Fault.from_proto(end.outcome).as_secondary(lane=edge.id) if end.outcome.code else None
        if fault is not None and fault.code is Code.CANCELLED and edge.reopening is not None and not self._cancelling():
            # Its server, or an attempt to place it again, was abandoned, but the run was not: the effect is that of a loss.
            edge.reopening.lane_lost(fault)
            self._cut_if_lost()
            return
        if fault is None and self._chunk_bytes and not edge.stopped:
            raise ProtocolViolation("the end arrived after chunks without their item")
        if fault is None and end.item_count != self._received:
            fault = self._fault(Code.DATA_LOSS, f"{self._received} of {end.item_count} items arrived")
        edge.end(fault)

    def _cut(self) -> None:
        """Breaks the call. Nothing more is accepted, and the edge waits for another lane."""
        self._is_cut = True
        if self._task is not None:
            self._task.cancel()

    def _cut_if_lost(self) -> None:
        if not self._edge.ended:
            self._cut()

    def _broken(self, why: str) -> None:
        if not self._edge.ended:
            self._lost(Code.UNAVAILABLE, why)

    def _lost(self, code: Code, why: str) -> None:
        """The call has ended without an `end`."""
        if self._is_cut:
            return
        edge, fault = self._edge, self._fault(code, why)
        if edge.reopening is None or edge.stopped or self._cancelling():
            edge.end(fault)
        else:
            edge.reopening.lane_lost(fault)

    def _fault(self, code: Code, why: str) -> Fault:
        if self._cancelling():
            code = Code.CANCELLED
        return Fault(
            code=code,
            reason="lane-broken",
            message=f"the lane {self._edge.id} broke: {why}",
            details={"lane": self._edge.id, "peer": self._context.peer() or ""},
            secondary=True,
        )


async def _ended(task: asyncio.Task[None]) -> None:
    """Ends a task. If it failed, the call has ended, and the reading side has noticed that."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
