"""The consumer end of short lanes: takes whole lanes of any runs from one call, and reports each when its items were taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import grpc
import grpc.aio

from lanemesh._aio.signal import Signal
from lanemesh._grpc.writing import write
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.intake import Intake, ProtocolViolation
from lanemesh.v1 import lane_pb2

Context = grpc.aio.ServicerContext[lane_pb2.ExchangeShortRequest, lane_pb2.ExchangeShortResponse]

MAX_UNREPORTED = 4096
"""Most closed lanes that wait for the caller to read their reports. While they are that many, nothing is read of the call."""

Accept = Callable[[lane_pb2.LaneOpen], tuple[Edge, LaneType, Callable[[], bool]]]
"""The edge that a lane requests, its type, and a function that returns whether its run is being cancelled. Raises LanemeshError if
there is no such run or edge, or it has a lane already."""


class ShortLaneReceiver:
    """Serves one `ExchangeShort` call.

    It never waits for a node: each lane fits into the limits of its edge as a whole, and is put there at once.
    """

    def __init__(self, context: Context, accept: Accept, first: lane_pb2.ExchangeShortRequest) -> None:
        """`accept` finds the edge of a lane. `first` is the first frame of the call, which was read."""
        self._context = context
        self._first = first
        self._accept = accept
        self._untaken = 0
        """Lanes whose items were not taken yet."""
        self._closed: list[lane_pb2.ShortLaneClosed] = []
        """Lanes to report."""
        self._work = Signal()
        self._wrote = Signal()
        self._ending = False
        self._over = False

    async def serve(self) -> None:
        """Takes lanes until the caller half-closes, and reports each; or until `end`. When the call ends, what arrived stays in the
        inboxes."""
        reading = asyncio.create_task(self._read(), name="short lanes")
        try:
            while True:
                if self._closed:
                    closed, self._closed = self._closed, []
                    await write(self._context, lane_pb2.ExchangeShortResponse(closed=closed))
                    self._wrote.fire()
                elif self._ending or (reading.done() and not self._untaken):
                    break
                else:
                    await self._work.wait()
        finally:
            self._over = True
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def end(self) -> None:
        """Ends the call, because the server stops."""
        self._ending = True
        self._work.fire()

    async def _read(self) -> None:
        try:
            frame: object = self._first
            while isinstance(frame, lane_pb2.ExchangeShortRequest):
                for lane in frame.lanes:
                    self._take(lane.number, lane.open)
                while len(self._closed) >= MAX_UNREPORTED:
                    await self._wrote.wait()
                await asyncio.sleep(
                    0
                )  # starting the next read takes as long as a node needs for an item: let them run first
                frame = await self._context.read()
        except Exception:  # bytes that are not a frame, or a broken call: the lanes that were not reported break
            self._ending = True
        finally:
            self._work.fire()

    def _take(self, number: int, opening: lane_pb2.LaneOpen) -> None:
        self._untaken += 1
        try:
            if opening.reopen or opening.resume_from:
                raise ProtocolViolation("a lane of a recoverable node came as a short one")
            edge, lane_type, cancelling = self._accept(opening)
        except LanemeshError as error:
            self._report(number, error.fault)
            return
        except ProtocolViolation as error:
            self._report(number, Fault(code=Code.INVALID_ARGUMENT, reason="lane-broken", message=str(error)))
            return
        intake = Intake(edge, lane_type, peer=self._context.peer() or "", cancelling=cancelling)
        try:
            if edge.reopening is not None or edge.committed is not None:
                raise ProtocolViolation("a lane of a recoverable node came as a short one")
            if not opening.items.HasField("end"):
                raise ProtocolViolation("a short lane came without its end")
            intake.take_in(opening.items)
        except Exception as error:  # a violation, or an error of one lane, which must not end the others
            known = isinstance(error, ProtocolViolation)
            refusal = intake.fault(Code.INVALID_ARGUMENT, str(error) if known else f"{type(error).__name__}: {error}")
            edge.end(refusal)
            self._report(number, refusal)
        else:
            self._report_when_taken(number, edge)

    def _report_when_taken(self, number: int, edge: Edge) -> None:
        if edge.buffered_items or not edge.drained:
            edge.when_taken(partial(self._report_when_taken, number, edge), edge.taken + max(1, edge.buffered_items))
        else:
            self._report(number)

    def _report(self, number: int, fault: Fault | None = None) -> None:
        self._untaken -= 1
        if not self._over:
            closed = lane_pb2.ShortLaneClosed(number=number)
            if fault is not None:
                closed.fault.CopyFrom(fault.to_proto())
            self._closed.append(closed)
            self._work.fire()
