"""The producer end of a lane, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from lanemesh.lanes.faults import Fault
from lanemesh.lanes.items import Envelope


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

    async def open(self) -> None:
        """Makes the lane ready. Raises LaneFault if the consumer refuses it or does not answer within 10 s."""

    def offer(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Accepts an item if there is room. False: there is none now (see `room`), or never again (see `stopped`)."""

    async def room(self) -> None:
        """Waits until there is room, or never will be."""

    def end(self, fault: Fault | None = None) -> None:
        """The producer is done, cleanly or with a fault; items accepted before still go out. Only the first end counts."""

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Calls `call` once, when the lane accepts nothing any more before its producer has ended it."""

    async def closed(self) -> None:
        """Waits until every item was taken or discarded by the consumer, or the lane broke."""

    async def abort(self, fault: Fault) -> None:
        """Ends the lane with a fault now: what was not sent is dropped. Returns within a second."""
