"""The broker of this process, with time and waiting."""

from __future__ import annotations

import asyncio

from lanemesh._aio.signal import Signal
from lanemesh.channels.broker import Broker
from lanemesh.channels.messages import Address, Message, Overflow
from lanemesh.channels.subscriber import Subscriber
from lanemesh.faults import Code, Fault, LanemeshError

BLOCK_SECONDS = 5.0
"""Maximum time that a publisher waits for a subscriber before that subscription ends."""


class LocalChannels:
    """The way to a broker in this process."""

    def __init__(self, broker: Broker | None = None, *, block_seconds: float = BLOCK_SECONDS) -> None:
        """`block_seconds`: maximum time that a publisher waits for a slow subscriber."""
        self.broker = broker if broker is not None else Broker()
        self.block_seconds = block_seconds

    async def publish(self, address: Address, message: Message) -> int:
        """Delivers a message to every subscriber; waits for slow ones at most 5 s. Returns the number that got it.

        If the caller is cancelled meanwhile, the message is still delivered to the subscribers that take it in time.
        """
        publication = self.broker.publish(address, message)
        if not publication.waiting:
            await asyncio.sleep(0)  # otherwise an endless publisher would starve other tasks
            return publication.delivered
        loop = asyncio.get_running_loop()
        seconds = self.block_seconds
        timer = loop.call_later(seconds, self.broker.expire, publication, seconds)
        settled = Signal()

        def on_settled() -> None:
            timer.cancel()
            settled.fire()

        publication.on_settled = on_settled
        while publication.waiting:
            await settled.wait()
        return publication.delivered

    async def subscribe(self, address: Address, name: str, overflow: Overflow, limit: int) -> LocalSubscription:
        """Subscribes."""
        return LocalSubscription(self.broker, self.broker.subscribe(address, name, overflow, limit))

    async def close(self, address: Address) -> None:
        """Closes a channel."""
        self.broker.close(address)

    def stop(self) -> None:
        """Ends every subscription, because the broker closes."""
        message = "the orchestrator stops, and its channels with it"
        self.broker.stop(Fault(code=Code.UNAVAILABLE, reason="orchestrator-stops", message=message))


class LocalSubscription:
    """One subscription at the broker of this process."""

    def __init__(self, broker: Broker, subscriber: Subscriber, *, hold: bool = False) -> None:
        """`hold`: messages that are taken wait on, for the broker, until they are acknowledged."""
        self._broker = broker
        self._subscriber = subscriber
        self._hold = hold
        self._changes = Signal()
        self._acknowledged = 0
        subscriber.on_change = self._changes.fire

    @property
    def dropped(self) -> int:
        """Messages that were dropped."""
        return self._subscriber.dropped

    @property
    def waiting_count(self) -> int:
        """How many messages are here."""
        return self._subscriber.queued

    def take(self) -> Message | None:
        """The next message, if one is here."""
        return self._subscriber.take(hold=self._hold)

    def acknowledge(self, taken: int) -> None:
        """So many messages of those that were held have been taken since the beginning."""
        self._subscriber.acknowledge(taken - self._acknowledged)
        self._acknowledged = max(self._acknowledged, taken)

    def is_over(self) -> bool:
        """No more messages follow. Raises LanemeshError if it was too slow."""
        if self._subscriber.queued or not self._subscriber.over:
            return False
        if self._subscriber.fault is not None:
            raise LanemeshError(self._subscriber.fault)
        return True

    async def changed(self) -> None:
        """Waits until a message is available or no more follow."""
        while not self._subscriber.queued and not self._subscriber.over:
            await self._changes.wait()

    async def leave(self) -> None:
        """Ends the subscription."""
        self._broker.leave(self._subscriber)
        self._changes.fire()
