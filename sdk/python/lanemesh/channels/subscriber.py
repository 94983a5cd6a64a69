"""The state of subscribers: their waiting messages, and the publishers that wait for them. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lanemesh.channels.messages import Address, Message, Overflow, channel_fault
from lanemesh.faults import Code, Fault

MAX_QUEUE_BYTES = 16 * 1024 * 1024
"""Maximum size of waiting messages of one subscriber, with any limit: 16 MiB."""


class Publication:
    """One message in delivery to the subscribers at the time of its publishing."""

    __slots__ = ("_channel", "delivered", "message", "on_settled", "waiting")

    def __init__(self, message: Message, channel: Channel) -> None:
        self.message = message
        self.delivered = 0
        """How many have got it."""
        self.waiting: set[Subscriber] = set()
        """The subscribers without capacity for it yet."""
        self.on_settled: Callable[[], None] | None = None
        """Called when it no longer waits for any subscriber, if it did."""
        self._channel = channel

    def wait(self, subscriber: Subscriber) -> None:
        """A subscriber has no capacity for it yet."""
        if not self.waiting:
            self._channel.waiting += 1
            self._channel.waiting_bytes += self.message.size
        self.waiting.add(subscriber)
        subscriber.pending.append(self)

    def settle(self, subscriber: Subscriber, *, delivered: bool) -> None:
        """A subscriber that was waited for has got it, or never will."""
        self.delivered += delivered
        self.waiting.discard(subscriber)
        if not self.waiting:
            self._channel.waiting -= 1
            self._channel.waiting_bytes -= self.message.size
            if self.on_settled is not None:
                self.on_settled()


class Subscriber:
    """One subscriber of one channel, and its waiting messages."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_queue",
        "_queue_bytes",
        "address",
        "dropped",
        "fault",
        "limit",
        "name",
        "on_change",
        "over",
        "overflow",
        "pending",
    )

    def __init__(self, address: Address, name: str, overflow: Overflow, limit: int) -> None:
        self.address = address
        self.name = name
        self.overflow = overflow
        self.limit = limit
        self.dropped = 0
        """Messages that were dropped."""
        self.over = False
        """No messages follow after the waiting ones."""
        self.fault: Fault | None = None
        """The fault that ended it, if there is one."""
        self.pending: deque[Publication] = deque()
        """Messages without capacity yet, in the order of their publishing."""
        self.on_change: Callable[[], None] | None = None
        """Called when a message is available, or no more follow."""
        self._queue: deque[Message] = deque()
        self._queue_bytes = 0
        self._held: deque[int] = deque()
        self._held_bytes = 0

    @property
    def queued(self) -> int:
        """How many messages can be taken."""
        return len(self._queue)

    def has_capacity(self, size: int) -> bool:
        """One more message of this size can wait for it."""
        count, held = len(self._queue) + len(self._held), self._queue_bytes + self._held_bytes
        return count < self.limit and held + size <= MAX_QUEUE_BYTES

    def must_wait(self, size: int) -> bool:
        """A message of this size has to wait for it, since it loses none."""
        return self.overflow is Overflow.BLOCK and (bool(self.pending) or not self.has_capacity(size))

    def put(self, message: Message) -> None:
        """Adds a message. A subscriber that drops the oldest messages drops one for it."""
        if self.overflow is Overflow.DROP_OLDEST:
            while self._queue and not self.has_capacity(message.size):
                self._queue_bytes -= self._queue.popleft().size
                self.dropped += 1
        self._queue.append(message)
        self._queue_bytes += message.size
        self.changed()

    def take(self, *, hold: bool = False) -> Message | None:
        """The first message that waits; None if none does. With `hold` it counts as waiting until it is acknowledged."""
        if not self._queue:
            return None
        message = self._queue.popleft()
        self._queue_bytes -= message.size
        if hold and self.overflow is Overflow.BLOCK:
            self._held.append(message.size)
            self._held_bytes += message.size
        else:
            self._admit()
        return message

    def acknowledge(self, count: int) -> None:
        """Takes the oldest waiting messages, at most this number."""
        for _ in range(min(count, len(self._held))):
            self._held_bytes -= self._held.popleft()
        self._admit()

    def end(self, fault: Fault | None = None, *, deliver: bool = False, clear: bool = False) -> None:
        """Ends the subscriber. Publishers that wait for it continue; their messages are delivered, or not. Only the first end
        counts."""
        if not self.over:
            self.over, self.fault = True, fault
        pending, self.pending = self.pending, deque()
        if clear:
            self._queue.clear()
            self._queue_bytes = 0
        for publication in pending:
            if deliver:
                self.put(publication.message)
            publication.settle(self, delivered=deliver)
        self.changed()

    def end_too_slow(self, seconds: float) -> None:
        """Ends a subscriber for which one message waited this time: it gets the messages in its queue, and then an error."""
        what = (
            f"the subscriber {self.name or 'without a name'} was too slow: {self.limit:,} messages or 16 MiB were in its queue, "
            f"and another one waited {seconds:g} s for it. Take messages faster, raise its limit, or drop the oldest ones "
            '(overflow="drop_oldest")'
        )
        self.end(channel_fault(Code.RESOURCE_EXHAUSTED, "subscriber-too-slow", self.address, what))

    def changed(self) -> None:
        """Wakes the taker."""
        if self.on_change is not None:
            self.on_change()

    def _admit(self) -> None:
        while self.pending and self.has_capacity(self.pending[0].message.size):
            publication = self.pending.popleft()
            self.put(publication.message)
            publication.settle(self, delivered=True)


@dataclass(slots=True)
class Channel:
    """One channel that has subscribers."""

    subscribers: dict[Subscriber, None] = field(default_factory=dict)
    waiting: int = 0
    """Messages whose publishers wait for slow subscribers."""
    waiting_bytes: int = 0
    """Bytes of them."""

    def end(self) -> None:
        """Ends the channel; subscribers get their waiting messages."""
        for subscriber in self.subscribers:
            subscriber.end(deliver=True)
