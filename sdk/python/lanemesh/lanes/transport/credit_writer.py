"""The writing half of the consumer end of a lane over gRPC: `accepted`, credit, `stop` and heartbeats."""

from __future__ import annotations

import asyncio

import grpc.aio

from lanemesh._aio.signal import Signal
from lanemesh._grpc.heartbeat import Heartbeat
from lanemesh._grpc.writing import write
from lanemesh.faults import Fault
from lanemesh.lanes.inbox.edge import Edge
from lanemesh.lanes.transport.credit import CreditPolicy, RecoverableCreditPolicy, Reported, Send, View, Wait
from lanemesh.v1 import lane_pb2

Context = grpc.aio.ServicerContext[lane_pb2.ExchangeRequest, lane_pb2.ExchangeResponse]


class CreditWriter:
    """Writes the frames that a `CreditPolicy` selects. The reading half fires `work` when a frame may be due."""

    def __init__(self, edge: Edge, context: Context) -> None:
        recoverable = edge.committed is not None or edge.reopening is not None
        self.work = Signal()
        self.space = Signal()
        """Fired when the node may have taken something, or has stopped the edge."""
        self.half_closed = False
        self.holding_back = False
        """As in `View`. The reading half sets it."""
        self._refusal: Fault | None = None
        self._edge = edge
        self._context = context
        self._policy = RecoverableCreditPolicy() if recoverable else CreditPolicy()
        self._reported = Reported(edge.base, edge.limit_items)
        self._reported_at = 0.0
        self._stop_sent = False
        self._waited = False
        self._resting = False
        """Arrivals are to be reported soon, and the writer waits without a time limit."""
        self._beat = Heartbeat(self.work)

    @property
    def is_due(self) -> bool:
        """Arrivals are to be reported, or the producer is out of credit: the reading half fires `work`."""
        edge = self._edge
        return self._resting or edge.arrived - self._reported.taken >= edge.limit_items

    def half_close(self) -> None:
        """The producer sends nothing more. `run` returns when there is nothing left to report to it."""
        self.half_closed = True
        self.work.fire()

    def refuse(self, refusal: Fault) -> None:
        """The producer broke the protocol: a `stop` with this fault is the last frame."""
        self._refusal = refusal
        self.work.fire()

    async def run(self) -> None:
        """Writes until the producer has half-closed and there is nothing left to report, or its violation was reported."""
        self._beat.start()
        try:
            accepted = lane_pb2.LaneAccepted(limit_items=self._reported.limit_items)
            await self._write(lane_pb2.ExchangeResponse(accepted=accepted))
            self._edge.when_stopped(self._wake)
            while True:
                self.space.fire()
                step = self._policy.next(self._view())
                if isinstance(step, Wait):
                    await self._wait(step)
                elif step is Send.NOTHING_MORE:
                    return
                else:
                    await self._send(step)
                    if step is Send.REFUSAL:
                        return
        finally:
            self._beat.stop()

    def _view(self) -> View:
        edge, prompt = self._edge, self._policy.prompt
        acknowledged, arrived = self._acknowledged_and_arrived() if prompt else (0, 0)
        return View(
            reported=self._reported,
            arrived=edge.arrived,
            taken=edge.taken,
            limit_items=edge.limit_items,
            buffered_items=edge.buffered_items,
            ended=edge.ended,
            stopped=edge.stopped,
            drained=edge.drained,
            refused=self._refusal is not None,
            stop_sent=self._stop_sent,
            half_closed=self.half_closed,
            holding_back=self.holding_back,
            heartbeat_due=self._beat.due,
            waited=self._waited,
            lane_acknowledged=acknowledged,
            lane_arrived=arrived,
            report_age=asyncio.get_running_loop().time() - self._reported_at if prompt else 0.0,
        )

    async def _wait(self, step: Wait) -> None:
        self._edge.when_taken(self._wake, step.taken)
        if step.seconds is None:
            self._resting = self._policy.prompt
            await self.work.wait()
            self._resting = self._waited = False
        else:
            fired = await self.work.wait_at_most(step.seconds)
            self._waited = step.patience and not fired

    async def _send(self, step: Send) -> None:
        edge = self._edge
        match step:
            case Send.HEARTBEAT:
                self._beat.due = False
                await self._write(lane_pb2.ExchangeResponse())
            case Send.CREDIT:
                self._waited = False
                self._beat.idle = False
                await self._write(lane_pb2.ExchangeResponse(credit=self._credit()))
            case Send.STOP:
                self._stop_sent = True
                await self._write_stop(edge.stop_reason, edge.stop_fault)
            case Send.REFUSAL:
                assert self._refusal is not None
                await self._write_stop(self._refusal.message, self._refusal)

    async def _write_stop(self, reason: str, fault: Fault | None) -> None:
        stop = lane_pb2.LaneStop(reason=reason)
        if fault is not None:
            stop.fault.CopyFrom(fault.to_proto())
        await self._write(lane_pb2.ExchangeResponse(stop=stop))

    async def _write(self, response: lane_pb2.ExchangeResponse) -> None:
        await write(self._context, response)

    def _credit(self) -> lane_pb2.LaneCredit:
        """The next report, in items of this lane."""
        edge, taken = self._edge, max(self._edge.taken, self._edge.base)
        if self._policy.prompt:
            acknowledged, arrived = self._acknowledged_and_arrived()
            self._reported_at = asyncio.get_running_loop().time()
        else:
            acknowledged, arrived = edge.processed, 0
        self._reported = Reported(taken, edge.limit_items, acknowledged, arrived)
        return lane_pb2.LaneCredit(
            taken_items=taken - edge.base,
            limit_items=edge.limit_items,
            acknowledged_items=acknowledged,
            arrived_items=arrived,
        )

    def _acknowledged_and_arrived(self) -> tuple[int, int]:
        """How many items of this lane are committed, and how many have arrived; the same where the node is not recoverable."""
        edge = self._edge
        arrived = edge.arrived - edge.base
        return (max(0, edge.committed() - edge.base) if edge.committed is not None else arrived), arrived

    def _wake(self) -> None:
        self.work.fire()
        self.space.fire()
