"""A blocking interface of channels; their event loop runs in another thread."""

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
        """Publishes any JSON value. Returns the number of subscribers that got it, 0 if there are none. See `Channels.publish`."""
        return self._loop.call(self._channels.publish(channel, message))

    def subscribe(
        self, channel: str, *, overflow: Literal["block", "drop_oldest"] = "block", limit: int = DEFAULT_LIMIT
    ) -> SyncSubscription:
        """Returns a subscription for use in `with`; entering it subscribes. See `Channels.subscribe`."""
        return SyncSubscription(self._loop, self._channels.subscribe(channel, overflow=overflow, limit=limit))

    def close(self, channel: str) -> None:
        """Closes a channel permanently, without waiting. See `Channels.close`."""
        self._loop.call(self._channels.close(channel))


class SyncSubscription:
    """One subscription: an iterator over messages. The iteration ends when the channel is closed."""

    def __init__(self, loop: LoopThread, subscription: Subscription) -> None:
        self._loop = loop
        self._subscription = subscription

    @property
    def dropped(self) -> int:
        """Number of messages that were dropped for it so far; always 0 with "block"."""
        return self._subscription.dropped

    @property
    def waiting_count(self) -> int:
        """Number of messages that can be taken without waiting."""
        return self._subscription.waiting_count

    def open(self) -> SyncSubscription:
        """Subscribes, as entering does, and returns itself. Has no effect if it is subscribed. See `Subscription.open`."""
        self._loop.call(self._subscription.open())
        return self

    def close(self) -> None:
        """Ends the subscription, and drops its waiting messages. The channel stays open."""
        self._loop.call_unless_closed(self._subscription.close())

    def with_publishers(self) -> Iterator[tuple[str, Any]]:
        """Yields (publisher, message): the publisher is a component id or the name of a client."""
        pairs = self._subscription.with_publishers()
        while (pair := self._loop.call(_next_or_end(pairs))) is not _END:
            yield pair

    def __enter__(self) -> SyncSubscription:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> SyncSubscription:
        return self

    def __next__(self) -> Any:
        """The next message. Raises as `Subscription` does."""
        message = self._loop.call(_next_or_end(self._subscription))
        if message is _END:
            raise StopIteration
        return message


async def _next_or_end(values: Any) -> Any:
    return await anext(values, _END)
