"""The producer end of a lane, for every transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lanemesh._aio.signal import Signal
from lanemesh.faults import Fault
from lanemesh.items import ITEM_OVERHEAD_BYTES, Envelope

SHORT_TEXT = 64 * 1024
"""Length in characters from which a text is no short one."""


class OfferText(Protocol):
    """Accepts a short text if there is capacity. False for everything else, which takes the ordinary path."""

    def __call__(self, value: Any, envelope: Envelope | None = None, /) -> bool:
        """Offers it."""


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """Statistics of the producer end of a lane."""

    sent: int
    """Items accepted from the producer."""
    taken: int
    """Items that the consumer's node has taken, as far as this end knows."""
    limit_items: int
    """Most items sent and not yet taken, as far as this end knows."""
    held_bytes: int
    """Bytes that wait at this end."""
    limit_bytes: int
    """Limit in bytes above which this end accepts no more items."""
    ended: bool
    """The producer has ended the lane, or the consumer has stopped it, or it is broken."""


class LaneSender(Protocol):
    """The producer end of one lane: over memory, over gRPC, or over one gRPC call after the other."""

    edge_id: str
    """The id of the lane's edge."""
    sent: int
    """Items accepted from the producer."""
    stopped: bool
    """The consumer takes no more, or the lane is broken: no item will be accepted again."""
    fault: Fault | None
    """The cause, if the consumer failed or the lane broke."""

    @property
    def acknowledged(self) -> int:
        """Items that the loss of this server no longer affects: they have arrived elsewhere or, if the consumer is recoverable
        itself, all items derived from them have. Known for the lanes of recoverable nodes only."""

    @property
    def discarded(self) -> bool:
        """The consumer takes no more, or the lane is broken: no item of it needs to be processed any more."""

    async def open(self) -> None:
        """Makes the lane ready. Raises LaneFault if the consumer refuses it or does not answer within 10 s."""

    def dial(self) -> None:
        """Opens the lane and does not wait for its consumer: items may be offered at once, within the limits of the edge. The lane
        breaks if the consumer refuses it or does not answer within 10 s."""

    def offer(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Accepts an item if there is capacity. False: there is none now (`wait_for_capacity`), or never again (`stopped`)."""

    def text_offer(self) -> OfferText:
        """A function that does what `offer` does, for short texts in ASCII alone. It measures them itself."""

    @property
    def full(self) -> bool:
        """`offer` would not accept an item now."""

    async def wait_for_capacity(self) -> None:
        """Waits until there is capacity, or never will be."""

    def watch(self, waiter: asyncio.Future[None]) -> None:
        """Ends `waiter` when there may be capacity, or never will be."""

    def unwatch(self, waiter: asyncio.Future[None]) -> None:
        """Removes `waiter`."""

    def end(self, fault: Fault | None = None) -> None:
        """Ends the lane for the producer, cleanly or with a fault. Accepted items are still sent. Only the first end counts."""

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Calls `call` once, when the lane stops accepting items before its producer has ended it."""

    async def closed(self) -> None:
        """Waits until the consumer has taken or discarded every item, or the lane broke."""

    async def abort(self, fault: Fault) -> None:
        """Ends the lane with a fault now. Unsent items are dropped. Returns within a second."""

    def statistics(self) -> SenderStatistics:
        """The current statistics."""


class SenderState:
    """The state that all producer ends of a lane have: counts, whether it was stopped and why, and waiters for capacity."""

    def __init__(self, edge_id: str, freed: Signal | None = None) -> None:
        """`freed` is fired when there may be capacity, or never will be."""
        self.edge_id = edge_id
        self.sent = 0
        self.stopped = False
        self.fault: Fault | None = None
        self._freed = freed or Signal()
        self._on_stop: list[Callable[[], None]] = []

    @property
    def discarded(self) -> bool:
        """The consumer takes no more, or the lane is broken: no item of it needs to be processed any more."""
        return self.stopped

    def offer(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Accepts an item if there is capacity."""
        raise NotImplementedError

    @property
    def full(self) -> bool:
        """There is no capacity."""
        raise NotImplementedError

    async def wait_for_capacity(self) -> None:
        """Waits for capacity, or for the lane's end."""
        while self.full and not self.stopped:
            await self._freed.wait()

    def text_offer(self) -> OfferText:
        """`offer` for short texts in ASCII alone."""
        offer = self.offer

        def offer_text(value: Any, envelope: Envelope | None = None) -> bool:
            if type(value) is not str or (size := len(value)) >= SHORT_TEXT or not value.isascii():
                return False
            if envelope is not None and envelope.metadata is not None:
                return False
            return offer(value, size + ITEM_OVERHEAD_BYTES, envelope)

        return offer_text

    def watch(self, waiter: asyncio.Future[None]) -> None:
        """Ends `waiter` when there may be capacity, or never will be."""
        self._freed.waiters.append(waiter)

    def unwatch(self, waiter: asyncio.Future[None]) -> None:
        """Removes `waiter`."""
        self._freed.discard(waiter)

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Calls `call` once, when the lane stops accepting items; at once if it already has."""
        if self.stopped:
            call()
        else:
            self._on_stop.append(call)

    def _stop(self) -> None:
        """The lane accepts no more items."""
        self.stopped = True
        self._freed.fire()
        calls, self._on_stop = self._on_stop, []
        for call in calls:
            call()


async def any_capacity(senders: Sequence[LaneSender]) -> None:
    """Waits until one of several senders may have capacity, or never will."""
    if len(senders) == 1:
        await senders[0].wait_for_capacity()
        return
    if not all(sender.full and not sender.stopped for sender in senders):
        return
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for sender in senders:
        sender.watch(waiter)
    try:
        await waiter
    finally:
        for sender in senders:
            sender.unwatch(waiter)
