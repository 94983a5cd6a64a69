"""The state of channels: subscriptions and closed names. Pure.

Nothing here waits or reads a clock. Subscribers and publishers are woken by callbacks; a timer calls `expire`.
"""

from __future__ import annotations

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
from lanemesh.channels.subscriber import Channel, Publication, Subscriber
from lanemesh.faults import Code, Fault, LanemeshError

MAX_CHANNELS = 1_024
"""Maximum number of channels with subscribers, per run and for the mesh."""
MAX_SUBSCRIBERS = 4_096
"""Maximum number of subscribers of one channel."""
MAX_WAITING = 1_024
"""Maximum number of messages of one channel whose publishers wait for slow subscribers."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Maximum size of these messages: 64 MiB."""
MAX_CLOSED = 1_024
"""How many closed channels of one run are remembered, and as many of the mesh; the oldest are forgotten first."""
MAX_ENDED_RUNS = 10_000
"""How many runs that have ended are remembered."""


@dataclass(slots=True)
class _Scope:
    """The channels of one run, or of the mesh."""

    channels: dict[str, Channel] = field(default_factory=dict)
    """Those with subscribers."""
    closed: dict[str, None] = field(default_factory=dict)
    """Names of closed channels, the oldest first."""


class Broker:
    """All channels of a mesh. A channel exists while it has subscribers; it need not be created."""

    def __init__(self) -> None:
        self._mesh = _Scope()
        self._runs: dict[str, _Scope] = {}
        self._ended: dict[str, None] = {}
        """Runs that have ended, the oldest first."""

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
        """Ends every subscriber with a fault, after the messages in its queue. Those of waiting publishers are not delivered."""
        scopes, self._mesh, self._runs = [self._mesh, *self._runs.values()], _Scope(), {}
        for scope in scopes:
            for channel in scope.channels.values():
                for subscriber in channel.subscribers:
                    subscriber.end(fault)

    def publish(self, address: Address, message: Message) -> Publication:
        """Delivers a message to every subscriber with capacity; the message waits for the others.

        Raises:
            LanemeshError: the channel is closed, the run is unknown, the name or message is invalid, or too many messages wait. No
            subscriber got it then.
        """
        scope = self._scope_to_publish(address)
        check_message(message)
        channel = scope.channels.get(address.name) or Channel()  # without subscribers it is delivered to none
        behind = {each for each in channel.subscribers if each.must_wait(message.size)}
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
        """Ends every subscriber that a message has waited for during this time."""
        for subscriber in list(publication.waiting):
            self._remove(subscriber)
            subscriber.end_too_slow(seconds)

    def subscribe(self, address: Address, name: str, overflow: Overflow, limit: int) -> Subscriber:
        """Adds a subscriber: it gets the messages published from now on. On a closed channel it ends at once.

        Args:
            address: the channel.
            name: the subscriber, for messages of errors.
            overflow: what happens when its queue is full.
            limit: most messages in its queue.

        Raises:
            LanemeshError: the run is unknown, the name of the channel or the limit is invalid, or there are too many channels or
                subscribers.
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
                what = f"{whose} has {MAX_CHANNELS:,} channels with subscribers, the maximum. End subscriptions, or use fewer names"
                raise LanemeshError(channel_fault(Code.RESOURCE_EXHAUSTED, "too-many-channels", address, what))
            channel = scope.channels[address.name] = Channel()
        if len(channel.subscribers) >= MAX_SUBSCRIBERS:
            what = f"it has {MAX_SUBSCRIBERS:,} subscribers, the maximum. End some of them"
            raise LanemeshError(channel_fault(Code.RESOURCE_EXHAUSTED, "too-many-subscribers", address, what))
        channel.subscribers[subscriber] = None
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Removes a subscriber and its messages; no publisher waits for it any more."""
        self._remove(subscriber)
        subscriber.end(clear=True)

    def close(self, address: Address) -> None:
        """Closes a channel. Subscribers get their waiting messages, including those of waiting publishers. Returns at once.

        Raises:
            LanemeshError: the run is unknown, or the name is invalid.
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

    def subscriber_count(self, address: Address) -> int:
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
            what = f'it belongs to no run. Names outside runs begin with "{MESH_PREFIX}"'
            raise LanemeshError(channel_fault(Code.INVALID_ARGUMENT, "no-run", address, what))
        what = f'there is no run "{address.run_id}" here'
        raise LanemeshError(channel_fault(Code.NOT_FOUND, "unknown-run", address, what))

    def _scope_to_publish(self, address: Address) -> _Scope:
        """The channels of a run, or of the mesh. Raises LanemeshError if that channel is closed, or the run or name is unknown."""
        check_name(address)
        scope = self._scope(address)
        if scope is None:
            what = f"it is closed, since run {address.run_id} has ended"
            raise LanemeshError(channel_fault(Code.FAILED_PRECONDITION, "channel-closed", address, what))
        if address.name in scope.closed:
            what = "it is closed, and accepts no more messages"
            raise LanemeshError(channel_fault(Code.FAILED_PRECONDITION, "channel-closed", address, what))
        return scope

    def _find(self, address: Address) -> Channel | None:
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


def _check_waiting(address: Address, channel: Channel, message: Message) -> None:
    """Raises LanemeshError if too much waits in a channel already."""
    if channel.waiting >= MAX_WAITING or channel.waiting_bytes + message.size > MAX_WAITING_BYTES:
        what = (
            f"{channel.waiting:,} messages already wait for slow subscribers; the limit is {MAX_WAITING:,}, or "
            f"{MAX_WAITING_BYTES // 2**20} MiB. Publish less, or let the subscribers drop the oldest messages"
        )
        raise LanemeshError(channel_fault(Code.RESOURCE_EXHAUSTED, "channel-busy", address, what))
