"""Channels without `await`; their event loop runs in a separate thread."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Literal

from lanemesh._aio.loop_thread import LoopThread
from lanemesh.channels import Channels
from lanemesh.channels.channels import Subscription
from lanemesh.channels.messages import DEFAULT_LIMIT

_END = object()


class SyncChannels:
    """The channels of a run or of the mesh: `lanemesh.channels.Channels` without `await`."""

    def __init__(self, loop: LoopThread, channels: Channels) -> None:
        self._loop = loop
        self._channels = channels

    def publish(self, channel: str, message: Any) -> int:
        """Publishes any JSON value. Returns the number of subscribers that got it. See `Channels.publish`."""
        return self._loop.call(self._channels.publish(channel, message))

    def subscribe(
        self, channel: str, *, overflow: Literal["block", "drop_oldest"] = "block", limit: int = DEFAULT_LIMIT
    ) -> SyncSubscription:
        """A subscription, for `with`, which registers it. See `Channels.subscribe`."""
        return SyncSubscription(self._loop, self._channels.subscribe(channel, overflow=overflow, limit=limit))

    def close(self, channel: str) -> None:
        """Closes a channel permanently. See `Channels.close`."""
        self._loop.call(self._channels.close(channel))


class SyncSubscription:
    """One subscription: an iterator over messages. The iteration ends when the channel is closed."""

    def __init__(self, loop: LoopThread, subscription: Subscription) -> None:
        self._loop = loop
        self._subscription = subscription

    @property
    def lost(self) -> int:
        """Number of messages that were dropped for it so far; always 0 with "block"."""
        return self._subscription.lost

    @property
    def ready(self) -> int:
        """Number of messages that can be taken without waiting."""
        return self._subscription.ready

    def enter(self) -> SyncSubscription:
        """Subscribes; registered when it returns. A second call has no effect."""
        self._loop.call(self._subscription.enter())
        return self

    def leave(self) -> None:
        """Ends the subscription. Waiting messages are dropped."""
        if not self._loop.closed:
            self._loop.call(self._subscription.leave())

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Pairs of publisher and message. The publisher is the id of a component, or the name of a client."""
        pairs = self._subscription.pairs()
        while (pair := self._loop.call(_next(pairs))) is not _END:
            yield pair

    def __enter__(self) -> SyncSubscription:
        return self.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def __iter__(self) -> SyncSubscription:
        return self

    def __next__(self) -> Any:
        """The next message. Raises as `Subscription` does."""
        message = self._loop.call(_next(self._subscription))
        if message is _END:
            raise StopIteration
        return message


async def _next(values: Any) -> Any:
    return await anext(values, _END)
