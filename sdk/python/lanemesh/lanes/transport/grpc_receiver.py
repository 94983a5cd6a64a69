"""The consumer end of a lane over gRPC: reads while its inbox has capacity, and grants credit for items that the node takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from lanemesh.faults import Code
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.credit_writer import Context, CreditWriter
from lanemesh.lanes.transport.intake import Intake, ProtocolViolation
from lanemesh.v1 import lane_pb2

BREAK_GRACE_SECONDS = 0.5
"""How long a receiver waits, after an end of file without `end`, for a report that the call broke. A cancel, a killed peer and
a closed channel all look like a clean end of file at first."""

GO_AHEAD_ITEMS = 8
"""With at most so many waiting items, a receiver lets their node run before the next read, for latency and not throughput."""

DISCARD_SECONDS = 5.0
"""How long a producer that broke the protocol may continue before the receiver ends the call."""


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
        self._context = context
        self._cancelling = cancelling
        self._intake = Intake(edge, lane_type, peer=context.peer() or "", cancelling=cancelling)
        self._task: asyncio.Task[None] | None = None
        self._is_cut = False
        self._writer = CreditWriter(edge, context)

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
            was_cancelled = edge.stop_fault is not None and edge.stop_fault.code is Code.CANCELLED
            if edge.abandoned or (was_cancelled and edge.committed is not None):
                # Its recoverable consumer was abandoned, but the run was not: the status OK would mean that all items are
                # committed.
                why = f"lane {edge.id}: its consumer {'was cancelled' if was_cancelled else 'did not commit all items'}"
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
        refusal = self._intake.fault(Code.INVALID_ARGUMENT, why)
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
                    self._intake.take_chunk(frame.chunk.content)
                case "end":
                    if self._intake.end(frame.end):
                        self._cut_if_lost()
                case "open":
                    raise ProtocolViolation("a second `open` came on it")
            if writer.is_due:
                writer.work.fire()
            await self._go_ahead()
        if not edge.ended:
            await asyncio.sleep(BREAK_GRACE_SECONDS)  # a broken call cancels this task meanwhile
            self._lost(Code.DATA_LOSS, f"it was closed without `end` after {self._intake.received} items")
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
        if self._intake.take_in(items):
            self._cut_if_lost()

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
        edge, fault = self._edge, self._intake.fault(code, why)
        if edge.reopening is None or edge.stopped or self._cancelling():
            edge.end(fault)
        else:
            edge.reopening.lane_lost(fault)


async def _ended(task: asyncio.Task[None]) -> None:
    """Ends a task. If it failed, the call has ended, and the reading side has noticed that."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
