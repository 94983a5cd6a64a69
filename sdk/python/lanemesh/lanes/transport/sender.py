"""The producer end of a lane, whatever carries it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lanemesh.faults import Fault
from lanemesh.items import Envelope


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """A look inside the producer end of a lane."""

    sent: int
    """Items accepted from the producer."""
    taken: int
    """Items that the consumer's node has taken, as far as this end knows."""
    limit_items: int
    """Most items sent and not yet taken, as far as this end knows."""
    held_bytes: int
    """Bytes that wait at this end."""
    limit_bytes: int
    """Bytes past which this end accepts no more."""
    ended: bool
    """The producer has ended it, or the consumer has stopped it, or it is broken."""


class LaneSender(Protocol):
    """The producer end of one lane. Two implementations: over memory and over gRPC."""

    edge_id: str
    """The edge that the lane is the live form of."""
    sent: int
    """Items accepted from the producer."""
    stopped: bool
    """The consumer takes no more, or the lane is broken: nothing will be accepted again."""
    fault: Fault | None
    """Why, if the consumer failed or the lane broke."""

    @property
    def acknowledged(self) -> int:
        """Items that the loss of this server does not reach any more: they have arrived elsewhere, or, where the consumer is
        recoverable itself, all that came of them has. Known of the lanes of recoverable nodes only."""

    async def open(self) -> None:
        """Makes the lane ready. Raises LaneFault if the consumer refuses it or does not answer within 10 s."""

    def offer(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Accepts an item if there is room. False: there is none now (see `room`), or never again (see `stopped`)."""

    @property
    def full(self) -> bool:
        """`offer` would accept nothing now."""

    async def room(self) -> None:
        """Waits until there is room, or never will be."""

    def watch(self, waiter: asyncio.Future[None]) -> None:
        """Ends `waiter` when there may be room, or never will be."""

    def unwatch(self, waiter: asyncio.Future[None]) -> None:
        """`waiter` waits no more."""

    def end(self, fault: Fault | None = None) -> None:
        """The producer is done, cleanly or with a fault; items accepted before still go out. Only the first end counts."""

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Calls `call` once, when the lane accepts nothing any more before its producer has ended it."""

    async def closed(self) -> None:
        """Waits until every item was taken or discarded by the consumer, or the lane broke."""

    async def abort(self, fault: Fault) -> None:
        """Ends the lane with a fault now: what was not sent is dropped. Returns within a second."""

    def statistics(self) -> SenderStatistics:
        """A look inside."""


async def any_capacity(senders: Sequence[LaneSender]) -> None:
    """Waits until one of several senders may have room, or never will."""
    if len(senders) == 1:
        await senders[0].room()
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
