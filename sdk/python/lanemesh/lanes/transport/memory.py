"""A lane within one process: no serialisation, the same limits and the same semantics as over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lanemesh.faults import Fault
from lanemesh.items import ITEM_OVERHEAD_BYTES, Envelope
from lanemesh.json_values import copy_json
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.sender import SHORT_TEXT, OfferText, SenderState, SenderStatistics


class MemorySender(SenderState):
    """Puts items directly into the consumer's inbox. Lists and objects are copied, because each consumer owns its values."""

    def __init__(self, edge: Edge) -> None:
        super().__init__(edge.id)
        self._edge = edge
        self._plain = type(edge) is Edge
        """Its `put` is the standard one."""
        self._ended_first = False
        """The lane had ended when the consumer stopped it: the consumer has taken every item."""
        edge.when_stopped(self._on_stopped)

    @property
    def acknowledged(self) -> int:
        """Number of committed items. The consumer would be lost together with the producer."""
        return self._edge.committed() if self._edge.committed is not None else self._edge.arrived

    @property
    def discarded(self) -> bool:
        """The consumer has stopped the lane before its end. A stop after the end means that it has ended, while what it sent may
        still be in transit."""
        return self.stopped and not self._ended_first

    async def open(self) -> None:
        """Does nothing: the lane is ready."""

    def dial(self) -> None:
        """Does nothing: the lane is ready."""

    def offer(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Accepts an item if the consumer's edge has capacity."""
        edge = self._edge
        if edge.arrived - edge.taken >= edge.limit_items or edge.buffered_bytes >= edge.limit_bytes or self.stopped:
            return False
        self.sent += 1
        kind = type(value)
        if kind is dict or kind is list:
            value = copy_json(value)
        if not edge.direct or not self._plain:
            edge.put(value, size, envelope)
            return True
        edge.arrived += 1  # `put`, inlined: every item between nodes of one process takes this path
        edge.buffered_bytes += size
        port = edge.port
        inbox = port.inbox
        inbox.arrivals = number = inbox.arrivals + 1
        port.entries.append((number, edge, value, size, envelope))
        if port.takers or port.watchers:
            port.wake()
        return True

    def text_offer(self) -> OfferText:
        """`offer` for a short text, as a function of its own: nearly every item between nodes of one process takes this path."""
        if not self._plain:
            return super().text_offer()
        edge, port = self._edge, self._edge.port
        inbox, append, takers, watchers = port.inbox, port.entries.append, port.takers, port.watchers

        def offer_text(value: Any, envelope: Envelope | None = None) -> bool:
            if type(value) is not str or not edge.direct or edge.arrived - edge.taken >= edge.limit_items:
                return False
            size = len(value)
            if size >= SHORT_TEXT or edge.buffered_bytes >= edge.limit_bytes or not value.isascii():
                return False
            if envelope is not None and envelope.metadata is not None:
                return False
            size += ITEM_OVERHEAD_BYTES
            self.sent += 1
            edge.arrived += 1
            edge.buffered_bytes += size
            inbox.arrivals = number = inbox.arrivals + 1
            append((number, edge, value, size, envelope))
            if takers or watchers:
                port.wake()
            return True

        return offer_text

    @property
    def full(self) -> bool:
        """The consumer's edge has no capacity."""
        return self._edge.full

    async def wait_for_capacity(self) -> None:
        """Waits until the consumer's edge has capacity or is stopped."""
        edge = self._edge
        while edge.full and not self.stopped:
            edge.when_taken(self._freed.fire)
            await self._freed.wait()

    def watch(self, waiter: asyncio.Future[None]) -> None:
        """Ends `waiter` when the consumer takes an item, or stops or grows the edge."""
        self._edge.when_taken(self._freed.fire)
        super().watch(waiter)

    def end(self, fault: Fault | None = None) -> None:
        """Ends the consumer's edge."""
        self._edge.end(fault)

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Calls `call` when the consumer stops its edge, within the cascade of that stop."""
        self._edge.when_stopped(call)

    async def closed(self) -> None:
        """Waits until the consumer has taken or discarded all items and, if it is recoverable, has committed them."""
        edge = self._edge
        while (edge.buffered_items and not edge.stopped) or not edge.drained:
            edge.when_taken(self._freed.fire)
            await self._freed.wait()

    async def abort(self, fault: Fault) -> None:
        """Ends the consumer's edge with a fault. Items that wait there stay with the consumer."""
        self._edge.end(fault)
        self.stopped = True
        self._freed.fire()

    def statistics(self) -> SenderStatistics:
        """The current statistics. Waiting items wait at the consumer's end."""
        edge = self._edge
        ended = edge.ended or edge.stopped or self.stopped
        return SenderStatistics(self.sent, edge.taken, edge.limit_items, 0, edge.limit_bytes, ended)

    def _on_stopped(self) -> None:
        self._ended_first = self._edge.ended
        self.stopped = True
        self.fault = self._edge.stop_fault
        self._freed.fire()
