"""The producer end of a lane whose consumer is recoverable: keeps unprocessed items and replays them to the next consumer."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Any

from lanemesh._aio.signal import Signal
from lanemesh._grpc.connections import ConnectionPool
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import Envelope
from lanemesh.lanes.transport.frames import Queued
from lanemesh.lanes.transport.grpc_sender import OPEN_SECONDS, GrpcSender
from lanemesh.lanes.transport.sender import SenderState, SenderStatistics
from lanemesh.protocol import DETACHED_SECONDS, UNSAID_SECONDS
from lanemesh.v1 import node_pb2

MAX_KEPT_ITEMS = 100_000
"""Most items that a lane keeps until they are processed."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Most bytes that a lane keeps: 64 MiB."""


class ReplayingSender(SenderState):
    """Sends the items of one edge over successive calls: over the next call when the consumer was placed again.

    A broken call does not fail the lane at once. For 25 s the orchestrator may report that the consumer's server is lost
    (`detach`), and for 11 min after that where the consumer is now (`reroute`). No item is accepted meanwhile. Then every item that
    the consumer had not reported as processed is sent again, in order, and the lane continues.

    At most 100,000 items or 64 MiB are kept. Beyond that the oldest items are dropped, and the lane cannot be rerouted until they
    are processed.
    """

    def __init__(
        self,
        edge: node_pb2.Edge,
        run_id: str,
        pool: ConnectionPool,
        *,
        open_seconds: float = OPEN_SECONDS,
        traceparent: str = "",
        lane_key: bytes = b"",
        max_items: int = MAX_KEPT_ITEMS,
        max_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        super().__init__(edge.id)
        self._edge = edge
        self._run_id = run_id
        self._pool = pool
        self._open_seconds = open_seconds
        self._traceparent = traceparent
        self._lane_key = lane_key
        self._max_items, self._max_bytes = max_items, max_bytes
        self._kept: deque[Queued] = deque()
        self._kept_bytes = 0
        self._first = 0
        """Number of the first item that is kept."""
        self._base = 0
        """Number of the first item of the present call."""
        self._lane = self._call_to(edge)
        self._away: asyncio.Task[None] | None = None
        """Task that waits for the next call, and replays into it."""
        self._route: node_pb2.ReroutedEdge | None = None
        self._routed = Signal()
        self._deadline = 0.0
        """When the wait for a route ends, by the clock of the event loop."""
        self._ended = False
        self._outcome: Fault | None = None
        self._aborted = False
        self._consumer_ended = False

    async def open(self) -> None:
        """Dials the consumer and waits until it accepts the lane.

        Raises:
            LaneFault: it refused, could not be reached, or did not answer within 10 s.
        """
        await self._lane.open()
        self._lane.when_stopped(self._lane_stopped)

    def dial(self) -> None:
        """Dials the consumer and does not wait for it: items may be offered at once. A lane that is not accepted is a lost one."""
        self._lane.dial()
        self._lane.when_stopped(self._lane_stopped)

    @property
    def acknowledged(self) -> int:
        """Items that were processed, with everything derived from them committed."""
        return self._base + self._lane.acknowledged

    def offer(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Sends an item if there is capacity, and keeps it."""
        if self._away is not None or not self._lane.offer(value, size, envelope):
            return False
        self.sent += 1
        self._kept.append((value, size, envelope))
        self._kept_bytes += size
        if self._base + self._lane.acknowledged > self._first:
            self._forget_processed()
        while len(self._kept) > self._max_items or self._kept_bytes > self._max_bytes:
            self._forget_first()
        return True

    @property
    def full(self) -> bool:
        """There is no capacity, or no lane."""
        return self._away is not None or self._lane.full

    def end(self, fault: Fault | None = None) -> None:
        """The producer has ended. Accepted items are still sent, to the next consumer if necessary."""
        if not self._ended:
            self._ended, self._outcome = True, fault
            if self._away is None:
                self._lane.end(fault)

    def statistics(self) -> SenderStatistics:
        """The current statistics, in items of the present call."""
        return replace(self._lane.statistics(), ended=self._ended or self.stopped)

    async def closed(self) -> None:
        """Waits until every item was processed or discarded, or the lane cannot continue."""
        while True:
            lane, away = self._lane, self._away
            if away is not None:
                await asyncio.wait([away])
            else:
                await lane.closed()
                if self._away is None and self._lane is lane:
                    break
        self._kept.clear()

    async def abort(self, fault: Fault) -> None:
        """Ends the lane with a fault now. Unsent items are dropped."""
        self._aborted = True
        self._ended = True
        away = self._away
        if away is not None:
            away.cancel()
            await asyncio.wait([away])
            self._away = None  # it may not have begun
        await self._lane.abort(fault)
        self._stop_with(None)

    def detach(self) -> node_pb2.DetachedEdge:
        """The consumer's server is lost. Returns whether the lane needs another consumer, and whether it can continue with it."""
        detached = node_pb2.DetachedEdge(edge_id=self.edge_id, done=self.stopped and self.fault is None)
        if self.fault is not None:
            detached.fault.CopyFrom(self.fault.to_proto())
        if self.stopped:
            return detached
        self._forget_processed()
        if self._first > self.acknowledged:
            detached.fault.CopyFrom(self._beyond_bound().to_proto())
            return detached
        self._route = None
        self._wait_for_route(DETACHED_SECONDS)
        self._begin_again()
        self._lane.cut()
        self._routed.fire()  # the time limit is later now
        return detached

    def reroute(self, route: node_pb2.ReroutedEdge) -> None:
        """Sets where the consumer is now."""
        self._route = route
        self._routed.fire()

    def end_consumer(self) -> None:
        """The consumer has ended: a lane that breaks, or has broken, is complete. Unsent items are dropped."""
        self._consumer_ended = True
        self._routed.fire()

    def _call_to(self, edge: node_pb2.Edge) -> GrpcSender:
        return GrpcSender(
            edge,
            self._run_id,
            self._pool,
            open_seconds=self._open_seconds,
            freed=self._freed,
            resume_from=self._base,
            traceparent=self._traceparent,
            lane_key=self._lane_key,
        )

    def _lane_stopped(self) -> None:
        """The call accepts no more items: it was stopped, has ended, or broke."""
        if self._aborted or not self._is_lost():
            self._stop_with(self._lane.fault)
        elif self._consumer_ended:
            self._stop_with(None)
        else:
            self._begin_again()

    def _is_lost(self) -> bool:
        """The call broke in a way that the loss of its server explains, or the consumer was cancelled, as by a server that has lost
        its orchestrator. A server that stops, or has started again, does not know the run (NOT_FOUND)."""
        fault = self._lane.fault
        if fault is None or fault.code is Code.CANCELLED:
            return fault is not None
        return self._lane.broken and fault.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.NOT_FOUND)

    def _begin_again(self) -> None:
        if self._away is None:
            self._away = asyncio.create_task(self._go_on(), name=f"lane {self.edge_id} again")

    async def _go_on(self) -> None:
        """Continues with the next call, and with further ones if that call breaks as well."""
        try:
            while not await self._again():
                pass
        except Exception as error:  # no other code would end the wait
            self._stop_with(Fault.from_exception(error, lane=self.edge_id))
            raise
        finally:
            if self._away is asyncio.current_task():
                self._away = None
            self._freed.fire()

    async def _again(self) -> bool:
        """Replays to the next consumer what the present one had not processed. Returns False if that consumer is lost as well."""
        lost = self._lane
        self._wait_for_route(UNSAID_SECONDS)
        await lost.closed()
        self._forget_processed()
        if self._first > self.acknowledged:
            self._stop_with(self._beyond_bound())
            return True
        while self._route is None:
            if self._consumer_ended:
                self._stop_with(None)
                return True
            left = self._deadline - asyncio.get_running_loop().time()
            if left <= 0:
                self._stop_with(lost.fault)
                return True
            await self._routed.wait_at_most(left)
        route, self._route = self._route, None
        self._deadline = 0.0
        return await self._replay(route)

    def _wait_for_route(self, seconds: float) -> None:
        self._deadline = max(self._deadline, asyncio.get_running_loop().time() + seconds)

    async def _replay(self, route: node_pb2.ReroutedEdge) -> bool:
        """Sends unprocessed items to the consumer's present address. Returns False if that call broke as well."""
        edge = node_pb2.Edge()
        edge.CopyFrom(self._edge)
        edge.consumer_address, edge.incarnation, edge.reopen = route.consumer_address, route.incarnation, False
        self._base = self._first
        self._lane = lane = self._call_to(edge)
        try:
            await lane.open()
        except LaneFault as error:
            if not self._is_lost():
                self._stop_with(error.fault)
                return True
            return False
        for item in tuple(self._kept):
            while not lane.offer(*item):
                if lane.stopped:
                    break
                await lane.wait_for_capacity()
        if self._ended:
            lane.end(self._outcome)
        if lane.stopped and self._is_lost():
            return False
        self._away = None  # before code that may start the task again
        lane.when_stopped(self._lane_stopped)
        return True

    def _forget_processed(self) -> None:
        processed = self.acknowledged
        while self._first < processed and self._kept:
            self._forget_first()

    def _forget_first(self) -> None:
        self._kept_bytes -= self._kept.popleft()[1]
        self._first += 1

    def _stop_with(self, fault: Fault | None) -> None:
        if not self.stopped:
            self.fault = fault
            self._stop()

    def _beyond_bound(self) -> Fault:
        message = (
            f"the lane {self.edge_id} cannot be sent again: {self.sent - self.acknowledged:,} items were not acknowledged, "
            f"and at most {self._max_items:,} of them or {self._max_bytes:,} bytes are kept"
        )
        details = {"lane": self.edge_id}
        return Fault(code=Code.UNAVAILABLE, reason="not-kept", message=message, details=details, secondary=True)
