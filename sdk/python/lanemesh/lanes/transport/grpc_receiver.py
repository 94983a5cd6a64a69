"""The consumer end of a lane over gRPC: reads while its inbox has room, gives credit for what the node takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc.aio
from google.protobuf.message import DecodeError

from lanemesh._aio.signal import Signal
from lanemesh._grpc.heartbeat import Heartbeat
from lanemesh._grpc.writing import write
from lanemesh.faults import Code, Fault
from lanemesh.items import ITEM_OVERHEAD_BYTES, MAX_MEDIA_BYTES, LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.frames import plain_texts, read_items
from lanemesh.v1 import lane_pb2

BREAK_GRACE_SECONDS = 0.5
"""How long a receiver waits, after an end of file without `end`, to learn whether the call broke: a cancel, a killed peer and
a closed channel all look like a clean end of file at first."""

GO_AHEAD_ITEMS = 8
"""With at most so many items waiting, a receiver lets their node run before it reads on: latency matters, not throughput."""
PATIENCE_SECONDS = 0.002
"""How long credit under half a window is held back from a producer that has none left."""

PROMPT_SECONDS = 0.05
"""How long it takes at most, on the lanes of recoverable nodes, to tell what has arrived or is safe."""

DISCARD_SECONDS = 5.0
"""How long a producer that broke the protocol may go on before the call is ended under it."""

Context = grpc.aio.ServicerContext[lane_pb2.ExchangeRequest, lane_pb2.ExchangeResponse]


class ProtocolViolation(Exception):
    """What came on a lane is not what its protocol admits. The lane fails, and nothing else."""


class GrpcReceiver:
    """Serves one accepted `Exchange` call, into one edge of an inbox.

    It never ends the call before the producer has half-closed: an early OK would reach a writing producer as INTERNAL.
    """

    def __init__(self, edge: Edge, lane_type: LaneType, context: Context, *, cancelling: Callable[[], bool]) -> None:
        self._edge = edge
        self._lane_type = lane_type
        self._context = context
        self._cancelling = cancelling
        self._received = 0
        self._inherited = edge.buffered_items
        """Items that an earlier lane of the edge has brought and that waited when this one came."""
        self._prompt = edge.committed is not None or edge.reopening is not None
        """What has arrived and what is safe is told soon."""
        self._told = (0, 0)
        """What was safe, and what had arrived, when it was last told."""
        self._reported_at = 0.0
        self._resting = False
        """There is nothing to tell soon."""
        self._task: asyncio.Task[None] | None = None
        self._is_cut = False
        self._work = Signal()
        self._space = Signal()
        self._half_closed = False
        self._refusal: Fault | None = None
        self._holding_back = False
        self._reported_taken = edge.base
        self._beat = Heartbeat(self._work)
        self._chunks: list[bytes] = []
        self._chunk_bytes = 0

    async def serve(self) -> None:
        """Accepts the lane, and returns when every item was taken or discarded. The call is OK then.

        Whatever happens to the call, the edge is ended: cleanly, with the producer's fault, or with one that tells how the
        lane broke. Only an edge whose producer is recoverable outlives a call that breaks.
        """
        edge = self._edge
        if edge.reopening is not None:
            self._task = asyncio.current_task()
            edge.reopening.cut = self._cut
        answers = asyncio.create_task(self._answer(), name=f"lane {edge.id} credit")
        self._beat.start()
        try:
            try:
                await self._read()
            except Exception as error:  # a violation, or protobuf's error about bytes that are no frame
                known = isinstance(error, ProtocolViolation)
                await self._refuse(str(error) if known else f"{type(error).__name__}: {error}", answers)
            self._half_closed = True
            self._work.fire()
            await answers
            if edge.committed is not None and edge.stop_fault is not None and edge.stop_fault.code is Code.CANCELLED:
                # Its recoverable consumer was given up, and not the run: a call that ends well would say that all is safe.
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
            self._beat.stop()
            await _ended(answers)

    async def _refuse(self, why: str, answers: asyncio.Task[None]) -> None:
        """Fails the lane: says so by `stop`, discards what still comes, and then fails the call, which crosses no write."""
        self._refusal = self._fault(Code.INVALID_ARGUMENT, why)
        self._edge.end(self._refusal)
        self._work.fire()
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
        edge = self._edge
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
            if self._resting or edge.arrived - self._reported_taken >= edge.limit_items:
                self._work.fire()  # there is something to tell soon, or the producer is out of credit
            if edge.buffered_bytes >= edge.limit_bytes:
                await self._hold_back()
            elif edge.buffered_items <= GO_AHEAD_ITEMS:
                # Beginning the next read takes as long as all that the node and its next lane do with an item: let them go first.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        if not edge.ended:
            await asyncio.sleep(BREAK_GRACE_SECONDS)  # a broken call cancels this task meanwhile
            self._lost(Code.DATA_LOSS, f"it was closed without `end` after {self._received} items")
            self._cut_if_lost()

    async def _hold_back(self) -> None:
        """Leaves what comes in the stream, where HTTP/2 flow control holds the producer, until the node has taken some."""
        edge = self._edge
        self._holding_back = True
        self._work.fire()  # so that the next take wakes us
        while edge.buffered_bytes >= edge.limit_bytes and not edge.stopped:
            await self._space.wait()
        self._holding_back = False

    def _take_in(self, items: lane_pb2.LaneItems) -> None:
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
            # Its server, or an attempt to place it again, was given up, and not the run: that is as if it were lost.
            edge.reopening.lane_lost(fault)
            self._cut_if_lost()
            return
        if fault is None and self._chunk_bytes and not edge.stopped:
            raise ProtocolViolation("the end arrived after chunks without their item")
        if fault is None and end.item_count != self._received:
            fault = self._fault(Code.DATA_LOSS, f"{self._received} of {end.item_count} items arrived")
        edge.end(fault)

    def _cut(self) -> None:
        """Breaks the call off; nothing more is taken in, and the edge is left to another lane."""
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
        """The call is over, and its end has not come."""
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

    async def _answer(self) -> None:
        """Writes `accepted`, credit, `stop` and signs of life until the producer has half-closed and nothing waits any more.

        Credit is given by half windows: until then the producer has half a window to go on with, or the consumer half a
        window to take. Only if the producer is out of credit and the node stops taking, the rest is given after a moment.
        """
        edge, context = self._edge, self._context
        told_limit, told_stop, patient = edge.limit_items, False, True
        accepted = lane_pb2.LaneAccepted(limit_items=told_limit)
        await write(context, lane_pb2.ExchangeResponse(accepted=accepted))
        edge.when_stopped(self._wake)
        while True:
            self._space.fire()
            if self._refusal is not None:
                stop = lane_pb2.LaneStop(reason=self._refusal.message, fault=self._refusal.to_proto())
                await write(context, lane_pb2.ExchangeResponse(stop=stop))
                return
            owed = edge.taken - self._reported_taken
            news = self._prompt and not told_stop and self._is_news()
            half = max(1, edge.limit_items // 2)
            starved = owed > 0 and not edge.ended and edge.arrived - self._reported_taken >= told_limit
            if self._beat.due:
                self._beat.due = False
                await write(context, lane_pb2.ExchangeResponse())
            elif edge.stopped and not told_stop and not edge.ended:
                told_stop = True
                stop = lane_pb2.LaneStop(reason=edge.stop_reason)
                if edge.stop_fault is not None:
                    stop.fault.CopyFrom(edge.stop_fault.to_proto())
                await write(context, lane_pb2.ExchangeResponse(stop=stop))
            elif self._half_closed and not edge.buffered_items and (edge.drained or told_stop):
                return
            elif news or (
                not edge.ended
                and not edge.stopped
                and (owed >= half or edge.limit_items > told_limit or (starved and not patient))
            ):
                patient = True
                self._reported_taken, told_limit = max(edge.taken, edge.base), edge.limit_items
                self._beat.idle = False
                await write(context, lane_pb2.ExchangeResponse(credit=self._credit()))
            else:
                soon = self._holding_back or self._half_closed or edge.arrived - self._reported_taken >= told_limit
                edge.when_taken(self._wake, edge.taken + 1 if soon else self._reported_taken + half)
                if starved:
                    patient = await self._work.wait_at_most(PATIENCE_SECONDS)
                elif self._prompt and min(self._told) < edge.arrived - edge.base:
                    await self._work.wait_at_most(PROMPT_SECONDS)
                else:
                    self._resting = self._prompt
                    await self._work.wait()
                    self._resting = False

    def _credit(self) -> lane_pb2.LaneCredit:
        """What the producer is told, in items of this lane."""
        edge = self._edge
        credit = lane_pb2.LaneCredit(taken_items=self._reported_taken - edge.base, limit_items=edge.limit_items)
        if self._prompt:
            self._told, self._reported_at = self._safe_and_arrived(), asyncio.get_running_loop().time()
            credit.acknowledged_items, credit.arrived_items = self._told
        else:
            credit.acknowledged_items = edge.processed
        return credit

    def _is_news(self) -> bool:
        """More is safe, or has arrived, than was last told, and that was a while ago."""
        early = asyncio.get_running_loop().time() < self._reported_at + PROMPT_SECONDS
        return not early and self._safe_and_arrived() != self._told

    def _safe_and_arrived(self) -> tuple[int, int]:
        """How many items of this lane are safe, and how many have arrived; they are the same where the node is not recoverable."""
        edge = self._edge
        arrived = edge.arrived - edge.base
        return (max(0, edge.committed() - edge.base) if edge.committed is not None else arrived), arrived

    def _wake(self) -> None:
        self._work.fire()
        self._space.fire()


async def _ended(task: asyncio.Task[None]) -> None:
    """Ends a task. If it failed, its call is over, which the reading side has seen."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
