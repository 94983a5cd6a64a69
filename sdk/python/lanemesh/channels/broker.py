"""Channels as plain state: who subscribes to what, what waits for whom, and whom a publisher waits for.

Nothing here waits or knows the time. Who takes and who publishes is woken by a callback; who lets time pass calls `expire`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lanemesh.channels.messages import (
    MESH_PREFIX,
    Address,
    Message,
    Overflow,
    channel_fault,
    check_limit,
    check_message,
    check_name,
)
from lanemesh.lanes.faults import Code, Fault, LanemeshError

MAX_CHANNELS = 1_024
"""Most channels of one run with subscribers, and as many of the mesh."""
MAX_SUBSCRIBERS = 4_096
"""Most subscribers of one channel."""
MAX_QUEUE_BYTES = 16 * 1024 * 1024
"""Most bytes of messages that wait for one subscriber, whatever its limit: 16 MiB."""
MAX_WAITING = 1_024
"""Most messages of one channel whose publishers wait for slow subscribers."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Most bytes of them: 64 MiB."""
MAX_CLOSED = 1_024
"""How many closed channels of one run are remembered, and as many of the mesh; the oldest are forgotten first."""
MAX_ENDED_RUNS = 10_000
"""How many runs that have ended are remembered."""


class Publication:
    """One message on its way to those who subscribed when it was published."""

    __slots__ = ("_channel", "delivered", "message", "on_settled", "waiting")

    def __init__(self, message: Message, channel: _Channel) -> None:
        self.message = message
        self.delivered = 0
        """How many have got it."""
        self.waiting: set[Subscriber] = set()
        """Those that have no room for it yet."""
        self.on_settled: Callable[[], None] | None = None
        """Is called once nobody is waited for any more, if somebody was."""
        self._channel = channel

    def wait(self, subscriber: Subscriber) -> None:
        """A subscriber has no room for it yet."""
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
    """One subscriber of one channel, and what waits for it."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_queue",
        "_queue_bytes",
        "address",
        "fault",
        "limit",
        "lost",
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
        self.lost = 0
        """Messages that were dropped."""
        self.over = False
        """No more messages come than those that wait."""
        self.fault: Fault | None = None
        """Why it was given up, if it was."""
        self.pending: deque[Publication] = deque()
        """Messages that there is no room for yet, in the order of their publishing."""
        self.on_change: Callable[[], None] | None = None
        """Is called when there is something to take, or nothing more comes."""
        self._queue: deque[Message] = deque()
        self._queue_bytes = 0
        self._held: deque[int] = deque()
        self._held_bytes = 0

    @property
    def queued(self) -> int:
        """How many messages can be taken."""
        return len(self._queue)

    def has_room(self, size: int) -> bool:
        """One more message of this size can wait for it."""
        count, held = len(self._queue) + len(self._held), self._queue_bytes + self._held_bytes
        return count < self.limit and held + size <= MAX_QUEUE_BYTES

    def put(self, message: Message) -> None:
        """Adds a message. One that loses the oldest makes room for it."""
        if self.overflow is Overflow.DROP_OLDEST:
            while self._queue and not self.has_room(message.size):
                self._queue_bytes -= self._queue.popleft().size
                self.lost += 1
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
        """Lets go of the oldest messages that are held, at most so many."""
        for _ in range(min(count, len(self._held))):
            self._held_bytes -= self._held.popleft()
        self._admit()

    def end(self, fault: Fault | None = None, *, deliver: bool = False, clear: bool = False) -> None:
        """Nothing more comes. Publishers that wait for it go on; what they wait with is delivered, or not. Only the first end
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

    def changed(self) -> None:
        """Wakes who takes."""
        if self.on_change is not None:
            self.on_change()

    def _admit(self) -> None:
        while self.pending and self.has_room(self.pending[0].message.size):
            publication = self.pending.popleft()
            self.put(publication.message)
            publication.settle(self, delivered=True)


@dataclass(slots=True)
class _Channel:
    """One channel that has subscribers."""

    subscribers: dict[Subscriber, None] = field(default_factory=dict)
    waiting: int = 0
    """Messages whose publishers wait for slow subscribers."""
    waiting_bytes: int = 0
    """Bytes of them."""

    def end(self) -> None:
        """Nothing more comes; subscribers get what waits for them."""
        for subscriber in self.subscribers:
            subscriber.end(deliver=True)


@dataclass(slots=True)
class _Scope:
    """The channels of one run, or of the mesh."""

    channels: dict[str, _Channel] = field(default_factory=dict)
    """Those with subscribers."""
    closed: dict[str, None] = field(default_factory=dict)


class Broker:
    """All channels of a mesh. A channel is there as long as somebody subscribes to it; it need not be made."""

    def __init__(self) -> None:
        self._mesh = _Scope()
        self._runs: dict[str, _Scope] = {}
        self._ended: dict[str, None] = {}

    def begin(self, run_id: str) -> None:
        """A run has begun: it has channels from now on."""
        self._runs.setdefault(run_id, _Scope())

    def end(self, run_id: str) -> None:
        """A run has ended, and all its channels are closed."""
        scope = self._runs.pop(run_id, None)
        if scope is None:
            return
        self._ended[run_id] = None
        if len(self._ended) > MAX_ENDED_RUNS:
            del self._ended[next(iter(self._ended))]
        for channel in scope.channels.values():
            channel.end()

    def stop(self, fault: Fault) -> None:
        """The broker goes away: every subscriber ends with this fault, after what waits for it."""
        scopes, self._mesh, self._runs = [self._mesh, *self._runs.values()], _Scope(), {}
        for scope in scopes:
            for channel in scope.channels.values():
                for subscriber in channel.subscribers:
                    subscriber.end(fault)

    def publish(self, address: Address, message: Message) -> Publication:
        """Hands a message to every subscriber that has room for it; the others are those that it waits for.

        Raises:
            LanemeshError: the channel is closed, the run is unknown, the name or message is none, or too much waits already;
                nobody got it then.
        """
        scope = self._open_scope(address)
        check_message(message)
        channel = scope.channels.get(address.name) or _Channel()
        behind = {each for each in channel.subscribers if _must_wait(each, message)}
        if behind:
            _check_waiting(address, channel, message)
        publication = Publication(message, channel)
        for subscriber in channel.subscribers:
            if subscriber in behind:
                publication.wait(subscriber)
            else:
                subscriber.put(message)
                publication.delivered += 1
        return publication

    def expire(self, publication: Publication, seconds: float) -> None:
        """Gives up every subscriber that a message still waits for, after this time."""
        for subscriber in list(publication.waiting):
            self._remove(subscriber)
            subscriber.end(_given_up(subscriber, seconds))

    def subscribe(self, address: Address, name: str, overflow: Overflow, limit: int) -> Subscriber:
        """A new subscriber: it gets what is published from now on. One of a closed channel is over at once.

        Raises:
            LanemeshError: the run is unknown, the name or limit is none, or there are too many channels or subscribers.
        """
        check_name(address)
        check_limit(address, limit)
        subscriber = Subscriber(address, name, overflow, limit)
        scope = self._scope(address)
        if scope is None or address.name in scope.closed:
            subscriber.end()
            return subscriber
        channel = scope.channels.get(address.name)
        if channel is None:
            if len(scope.channels) >= MAX_CHANNELS:
                whose = "the mesh" if address.is_global else f"run {address.run_id}"
                what = f"{whose} has {MAX_CHANNELS:,} channels with subscribers, and no more than that are possible"
                raise LanemeshError(channel_fault(Code.RESOURCE_EXHAUSTED, "too-many-channels", address, what))
            channel = scope.channels[address.name] = _Channel()
        if len(channel.subscribers) >= MAX_SUBSCRIBERS:
            what = f"it has {MAX_SUBSCRIBERS:,} subscribers, and no more than that are possible"
            raise LanemeshError(channel_fault(Code.RESOURCE_EXHAUSTED, "too-many-subscribers", address, what))
        channel.subscribers[subscriber] = None
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Forgets a subscriber and what waits for it; nobody waits for it any more."""
        self._remove(subscriber)
        subscriber.end(clear=True)

    def close(self, address: Address) -> None:
        """Closes a channel. Subscribers get what waits for them, and what publishers wait with; closing waits for nobody.

        Raises:
            LanemeshError: the run is unknown, or the name is none.
        """
        check_name(address)
        scope = self._scope(address)
        if scope is None:
            return
        scope.closed.pop(address.name, None)
        scope.closed[address.name] = None
        if len(scope.closed) > MAX_CLOSED:
            del scope.closed[next(iter(scope.closed))]
        channel = scope.channels.pop(address.name, None)
        if channel is not None:
            channel.end()

    def subscribers(self, address: Address) -> int:
        """How many subscribe to a channel now."""
        channel = self._find(address)
        return len(channel.subscribers) if channel is not None else 0

    def _scope(self, address: Address) -> _Scope | None:
        """The channels of a run, or of the mesh; None once the run has ended. Raises LanemeshError if there is no such run."""
        if address.is_global:
            return self._mesh
        scope = self._runs.get(address.run_id)
        if scope is not None or address.run_id in self._ended:
            return scope
        if not address.run_id:
            what = f'it belongs to no run. Names outside of runs begin with "{MESH_PREFIX}"'
            raise LanemeshError(channel_fault(Code.INVALID_ARGUMENT, "no-run", address, what))
        what = f'there is no run "{address.run_id}" here'
        raise LanemeshError(channel_fault(Code.NOT_FOUND, "unknown-run", address, what))

    def _open_scope(self, address: Address) -> _Scope:
        check_name(address)
        scope = self._scope(address)
        if scope is None:
            what = f"it is closed, since run {address.run_id} has ended"
            raise LanemeshError(channel_fault(Code.FAILED_PRECONDITION, "channel-closed", address, what))
        if address.name in scope.closed:
            what = "it is closed, and takes no more messages"
            raise LanemeshError(channel_fault(Code.FAILED_PRECONDITION, "channel-closed", address, what))
        return scope

    def _find(self, address: Address) -> _Channel | None:
        scope = self._mesh if address.is_global else self._runs.get(address.run_id)
        return scope.channels.get(address.name) if scope is not None else None

    def _remove(self, subscriber: Subscriber) -> None:
        address = subscriber.address
        channel = self._find(address)
        if channel is None or subscriber not in channel.subscribers:
            return
        del channel.subscribers[subscriber]
        if not channel.subscribers:
            scope = self._mesh if address.is_global else self._runs[address.run_id]
            del scope.channels[address.name]


def _must_wait(subscriber: Subscriber, message: Message) -> bool:
    if subscriber.overflow is not Overflow.BLOCK:
        return False
    return bool(subscriber.pending) or not subscriber.has_room(message.size)


def _check_waiting(address: Address, channel: _Channel, message: Message) -> None:
    """Raises LanemeshError if too much waits in a channel already."""
    if channel.waiting >= MAX_WAITING or channel.waiting_bytes + message.size > MAX_WAITING_BYTES:
        what = (
            f"{channel.waiting:,} messages wait for slow subscribers already, and no more than {MAX_WAITING:,} or 64 MiB of "
            "them can. Publish less, or let the subscribers lose the oldest"
        )
        raise LanemeshError(channel_fault(Code.RESOURCE_EXHAUSTED, "channel-busy", address, what))


def _given_up(subscriber: Subscriber, seconds: float) -> Fault:
    what = (
        f"the subscriber {subscriber.name or 'without a name'} was given up: {subscriber.limit:,} messages or 16 MiB waited for "
        f"it, and it made no room for the next one within {seconds:g} s. Take messages faster, raise its limit, or let it "
        'lose the oldest (overflow="drop_oldest")'
    )
    return channel_fault(Code.RESOURCE_EXHAUSTED, "subscriber-given-up", subscriber.address, what)
