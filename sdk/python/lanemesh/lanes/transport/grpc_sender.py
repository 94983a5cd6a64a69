"""The producer end of a lane over gRPC: dials the consumer, sends while there is credit, coalesces queued items."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc.aio

from lanemesh._aio.eager import EagerCoroutine
from lanemesh._aio.signal import Signal
from lanemesh._grpc.connections import ConnectionPool
from lanemesh._grpc.heartbeat import Heartbeat
from lanemesh._grpc.reading import read_all
from lanemesh._grpc.tls_errors import with_hint
from lanemesh._grpc.writing import half_close
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import Envelope, LaneType
from lanemesh.lanes.transport.frames import (
    MAX_FRAME_ITEMS,
    Frame,
    Queued,
    leading_chunks,
    next_frame,
    parsed,
    serialize,
    whole_lane,
)
from lanemesh.lanes.transport.late_dial import PASSES, LateDial
from lanemesh.lanes.transport.sender import SenderState, SenderStatistics
from lanemesh.lanes.transport.short_lanes import CallBroken, Refused, ShortLanes
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import lane_pb2, node_pb2
from lanemesh.values import bytes_of

OPEN_SECONDS = 10.0
"""Time limit from `open` to `accepted`: a stream beyond a server's stream limit hangs without an error."""
ACCEPT_SECONDS = 30.0
"""The same for a lane that carries items at once, so that nothing waits for `accepted`."""
FEW_ITEMS = 8
"""After a frame of at most so many items the next item does not wait until the writer runs, for latency and not throughput."""
ABORT_SECONDS = 0.5
"""How long an aborted lane may take to report that to its consumer before the call is cancelled."""

EXCHANGE = "/lanemesh.v1.NodeService/Exchange"
"""The method that carries a lane. It is called without its stub, because frames of short texts are serialised by hand."""

Call = grpc.aio.StreamStreamCall[Frame, lane_pb2.ExchangeResponse]


class GrpcSender(SenderState):
    """Sends the items of one edge over one `Exchange` call, or all of them in one message, if the lane has ended by then.

    One task writes and one reads; `closed` awaits both. `offer` may start the write of a frame while the writer is idle. The writer
    completes that write before any other, so that there are never two writes. The writer is never cancelled during a write, since
    that would end the call.
    """

    def __init__(
        self,
        edge: node_pb2.Edge,
        run_id: str,
        pool: ConnectionPool,
        *,
        open_seconds: float = OPEN_SECONDS,
        freed: Signal | None = None,
        resume_from: int = 0,
        traceparent: str = "",
        lane_key: bytes = b"",
        merges: bool = False,
        short: ShortLanes | None = None,
    ) -> None:
        """`freed` is fired when the lane may have capacity, or never will. Earlier calls have sent `resume_from` items of the edge,
        and the consumer has acknowledged them. `traceparent` is the trace that the run belongs to, `lane_key` proves
        that the lane does. `merges`: the consumer accepts
        items in the frame with `open`, and the end in a frame with items. `short` carries a lane that merges frames and has ended
        before its first frame; None: the consumer does not accept that."""
        super().__init__(edge.id, freed)
        self.acknowledged = 0
        self.broken = False
        """The fault is that the call broke or could not be made."""
        self._address = edge.consumer_address
        self._replayable = edge.replayable
        self._lane_type = LaneType.from_wire(edge.lane_type)
        self._opening = lane_pb2.LaneOpen(
            run_id=run_id,
            edge_id=edge.id,
            lane_type=self._lane_type.wire,
            protocol_version=PROTOCOL_VERSION,
            resume_from=resume_from,
            incarnation=edge.incarnation,
            reopen=edge.reopen,
            traceparent=traceparent,
            lane_key=lane_key,
        )
        self._limit_items = edge.limit_items
        self._limit_bytes = edge.limit_bytes
        self._pool = pool
        self._open_seconds = open_seconds
        self._channel: grpc.aio.Channel | None = None
        self._call: Call | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._queue: deque[Queued] = deque()
        self._held_bytes = 0
        self._written = 0
        self._ceiling = 0
        """Items that the credit granted so far permits in total; 0 once stopped."""
        self._ending = False
        self._outcome: Fault | None = None
        self._aborted = False
        self._accepted: asyncio.Future[None] | None = None
        self._work = Signal()
        self._begun: EagerCoroutine | None = None
        """A write that `offer` started before the writer runs."""
        self._latest_items = 0
        """Number of items in the latest frame."""
        self._merges = merges
        self._short = short
        self._late_dial: LateDial | None = None
        """Dials the consumer of a lane that merges frames; None from then on, or once a short lane is closed."""
        self._end_sent = False
        self._beat = Heartbeat(self._work)
        self.frames = 0
        """Number of sent frames with items."""

    async def open(self) -> None:
        """Dials the consumer and waits until it accepts the lane.

        Raises:
            LaneFault: it refused, could not be reached, or did not answer within 10 s.
        """
        if self._aborted:
            return
        accepted = self._start_call()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._open_seconds):
                await asyncio.shield(accepted)
        if not accepted.done():
            self._give_up()
            await self.closed()
        if self.fault is not None:
            raise LaneFault(self.fault)

    def dial(self) -> None:
        """Dials the consumer and does not wait for it: items may be offered at once, within the limits of the edge. The lane breaks
        if the consumer refuses it or does not answer within 10 s. A lane that merges frames is dialled with its first item or its
        end, after a second at the latest."""
        if self._aborted:
            return
        self._ceiling = self._limit_items = max(1, self._limit_items)  # the same limit that the consumer will accept
        if not self._merges:
            self._dial()
            return
        self._latest_items = FEW_ITEMS + 1  # so that `offer` begins no write
        self._late_dial = LateDial(self._work, self._dial, self._send_short if self._short is not None else None)

    def _dial(self) -> None:
        self._late_dial = None
        if self._merges:
            self._open_seconds = max(self._open_seconds, ACCEPT_SECONDS)
        timer = asyncio.get_running_loop().call_later(self._open_seconds, self._give_up)
        self._start_call().add_done_callback(lambda _: timer.cancel())

    def _send_short(self) -> Callable[[], None] | None:
        """Sends the lane, which has ended, as a short one: `open` has its items and its end. Returns a function that forgets it.
        None: the items are too many or too large, or cannot be encoded."""
        assert self._short is not None
        try:
            items = whole_lane(self._lane_type, self._queue, self._held_bytes)
        except Exception:  # the writer of the call will report it
            return None
        if items is None:
            return None
        self._written = len(self._queue)
        self._drop()
        items.end.CopyFrom(self._end())
        self._opening.items.CopyFrom(items)
        return self._short.send(self._address, self._opening, self._on_short_closed)

    def _on_short_closed(self, broken: Refused | CallBroken | None) -> None:
        """The consumer has taken every item of a short lane, or the lane broke."""
        if broken is None:
            self.acknowledged = self.sent
        elif isinstance(broken, Refused):
            self._break(self._lost(broken.fault.code, str(broken)))
        else:
            self._break(self._lost(broken.code, str(broken), opened=True))
        self._stop()
        if self._late_dial is not None:
            self._late_dial.close_short()
            self._late_dial = None

    def _start_call(self) -> asyncio.Future[None]:
        """Starts the call and its tasks. The future is done when the consumer has accepted the lane, or the call has ended."""
        self._channel = self._pool.acquire(self._address)
        self._call = self._channel.stream_stream(
            EXCHANGE, request_serializer=serialize, response_deserializer=lane_pb2.ExchangeResponse.FromString
        )()
        self._accepted = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.create_task(self._write(), name=f"lane {self.edge_id} writer"),
            asyncio.create_task(self._read(), name=f"lane {self.edge_id} reader"),
        ]
        return self._accepted

    def _give_up(self) -> None:
        """The consumer has not accepted the lane in time: breaks the lane."""
        self._break(
            self._lost(Code.DEADLINE_EXCEEDED, f"the consumer did not accept it within {self._open_seconds:g} s")
        )
        self.cut()

    def offer(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Queues an item if there is credit for it and the buffered bytes are under the limit.

        On a lane with little traffic the item is encoded and sent at once, if the writer is idle. `fire` ends the idle wait of the
        writer, so this happens once until the writer runs.
        """
        if self.sent >= self._ceiling or self._held_bytes >= self._limit_bytes:
            return False
        self.sent += 1
        self._held_bytes += size
        self._queue.append((value, size, envelope))
        if self._work.waiters:
            if self._latest_items <= FEW_ITEMS:
                self._begun = EagerCoroutine(self._write_items())
            self._work.fire()
        return True

    @property
    def full(self) -> bool:
        """There is no credit, or the buffered bytes are at their limit."""
        return self.sent >= self._ceiling or self._held_bytes >= self._limit_bytes

    def end(self, fault: Fault | None = None) -> None:
        """Lets the writer send queued items, `end` and the half-close."""
        if not self._ending:
            self._ending, self._outcome = True, fault
            if self._late_dial is not None:
                self._late_dial.end()
            self._work.fire()

    def statistics(self) -> SenderStatistics:
        """The current statistics."""
        taken = max(0, self._ceiling - self._limit_items)
        ended = self._ending or self.stopped
        return SenderStatistics(self.sent, taken, self._limit_items, self._held_bytes, self._limit_bytes, ended)

    async def closed(self) -> None:
        """Waits until the call has ended, or a short lane is closed. `fault` has the fault of the lane, if there is one."""
        if self._late_dial is not None and self._late_dial.short_closed is not None:
            await asyncio.wait([self._late_dial.short_closed])
        if self._tasks:
            await asyncio.wait(self._tasks)  # not `gather`: cancelling this task must not cancel a write
            for task in self._tasks:
                task.result()
        if self._channel is not None:
            self._pool.release(self._channel)
            self._channel = None

    def cut(self) -> None:
        """Breaks the call now."""
        if self._call is not None:
            self._call.cancel()

    async def abort(self, fault: Fault) -> None:
        """Drops queued items, ends the lane with a fault, and cancels the call if that takes longer than half a second."""
        self._aborted = True
        if self._queue:
            self._outcome = fault  # even if its producer has ended the lane: the items dropped here were part of it
        self._drop()
        self.end(fault)
        self._stop()
        if self._call is None and (self._late_dial is None or self._late_dial.short_closed is None):
            return
        closing = asyncio.ensure_future(self.closed())
        await asyncio.wait([closing], timeout=ABORT_SECONDS)
        if not closing.done():
            if self._late_dial is not None:
                self._late_dial.forget()
                self._late_dial = None
            self.cut()
        await closing

    async def _write(self) -> None:
        call = self._call
        assert call is not None
        try:
            await self._write_opening()
            self._beat.start()
            while True:
                if self._begun is not None:
                    begun, self._begun = self._begun, None
                    await begun
                elif self._queue:
                    await self._write_items()
                elif self._ending:
                    break
                elif self._beat.due:
                    self._beat.due = False
                    await call.write(lane_pb2.ExchangeRequest())
                else:
                    await self._work.wait()
            if not self._end_sent:
                await call.write(lane_pb2.ExchangeRequest(end=self._end()))
            await half_close(call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended: the reader reports how
        except asyncio.CancelledError:
            if not call.done():  # this task was cancelled, not the call
                raise
        except Exception as error:  # protobuf rejects a value that the check of the lane type accepted
            self._break(self._lost(Code.INTERNAL, f"an item could not be encoded: {error}"), broken=False)
            call.cancel()
        finally:
            self._beat.stop()
            if self._begun is not None:
                self._begun.close()

    async def _write_items(self) -> None:
        call = self._call
        assert call is not None
        if bytes_of(self._queue[0][0]) is not None:
            for chunk in leading_chunks(self._queue):
                await call.write(chunk)
                if not self._queue:  # stopped meanwhile
                    return
        frame, size = self._next_frame()
        await call.write(frame)
        self._wrote(size)

    async def _write_opening(self) -> None:
        """Sends `open`, if the lane merges frames with the items and the end that there are already."""
        call = self._call
        assert call is not None
        size = 0
        if self._merges:
            for _ in range(PASSES if self._short is None else 0):  # one that may be short has let other work run
                await asyncio.sleep(0)
            if self._queue and bytes_of(self._queue[0][0]) is None:
                frame, size = self._next_frame()
                self._opening.items.CopyFrom(parsed(frame).items)
            elif self._ending and not self._queue:
                self._opening.items.end.CopyFrom(self._end())
        await call.write(lane_pb2.ExchangeRequest(open=self._opening))
        if size:
            self._wrote(size)

    def _next_frame(self) -> tuple[Frame, int]:
        """The next frame with items, and their size as counted at `offer`."""
        most = min(MAX_FRAME_ITEMS, max(1, self._limit_items // 2))  # so that one is in flight while the next one fills
        frame, count, size = next_frame(self._lane_type, self._queue, most)
        self._written += count
        self._latest_items = count
        self._beat.idle = False
        self.frames += 1
        if self._ending and self._merges and not self._queue:
            frame = parsed(frame)
            frame.items.end.CopyFrom(self._end())
        return frame, size

    def _end(self) -> lane_pb2.LaneEnd:
        """The end of the lane, which is sent next."""
        self._end_sent = True
        end = lane_pb2.LaneEnd(item_count=self._written)
        if self._outcome is not None:
            end.outcome.CopyFrom(self._outcome.to_proto())
        return end

    def _wrote(self, size: int) -> None:
        """A frame with items of this size was sent."""
        self._held_bytes = max(0, self._held_bytes - size)  # 0 already if the lane was stopped meanwhile
        if self._freed.waiters:
            self._freed.fire()

    async def _read(self) -> None:
        call = self._call
        assert call is not None
        assert self._accepted is not None
        await read_all(call, lane_pb2.ExchangeResponse, self._on_frame)
        code, details = await call.code(), await call.details()
        if code is grpc.StatusCode.OK and self._ending:
            if self.fault is None:
                self.acknowledged = self.sent
        else:
            broken = Code(code.value[0]) if code is not grpc.StatusCode.OK else Code.INTERNAL
            self._break(self._lost(broken, with_hint(details or "")))
        self._stop()
        self._tasks[0].cancel()  # a write on a call that ended before its stream began would wait for ever
        if not self._accepted.done():
            self._accepted.set_result(None)

    def _on_frame(self, response: lane_pb2.ExchangeResponse) -> None:
        match response.WhichOneof("frame"):
            case "credit":
                if not self.stopped:
                    self._limit_items = max(self._limit_items, response.credit.limit_items)
                    self._ceiling = response.credit.taken_items + self._limit_items
                    credit = response.credit
                    self.acknowledged = credit.acknowledged_items if self._replayable else credit.arrived_items
                    self._freed.fire()
            case "accepted":
                if not self.stopped:
                    self._ceiling = self._limit_items = max(1, response.accepted.limit_items)
                    self._freed.fire()  # items may have been offered before
                if self._accepted is not None and not self._accepted.done():
                    self._accepted.set_result(None)
            case "stop":
                if response.stop.HasField("fault") and self.fault is None:
                    self.fault = Fault.from_proto(response.stop.fault).as_secondary(lane=self.edge_id)
                self._drop()
                self.end()
                self._stop()

    def _stop(self) -> None:
        self._ceiling = 0
        super()._stop()

    def _drop(self) -> None:
        self._queue.clear()
        self._held_bytes = 0

    def _break(self, fault: Fault, *, broken: bool = True) -> None:
        if self.fault is None and not self._aborted:
            self.fault, self.broken = fault, broken
        self._ending = True
        self._drop()
        self._stop()

    def _lost(self, code: Code, why: str, *, opened: bool = False) -> Fault:
        """The fault of a lane that broke. `opened`: the consumer may have accepted it, although that was not reported."""
        if code in (Code.UNKNOWN, Code.INTERNAL, Code.CANCELLED):
            code = Code.UNAVAILABLE  # grpc.aio's status for a lost peer varies with its activity
        accepted = opened or (self._accepted is not None and self._accepted.done())
        what = "broke" if accepted else "could not be opened"
        return Fault(
            code=code,
            reason="lane-broken" if accepted else "lane-refused",
            message=f"the lane {self.edge_id} to {self._address} {what}: {why or 'the connection is gone'}",
            details={"lane": self.edge_id, "address": self._address},
            secondary=True,
        )
