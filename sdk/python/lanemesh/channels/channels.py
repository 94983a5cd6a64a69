"""Channels as nodes and clients have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Any, Literal

from lanemesh.channels.messages import (
    DEFAULT_LIMIT,
    MAX_NAME,
    Address,
    Message,
    Overflow,
    Reach,
    SubscriptionLink,
    channel_fault,
    load_value,
    make_message,
)
from lanemesh.faults import Code, LanemeshError
from lanemesh.rendering import valid_unicode

Waiting = Callable[[], AbstractAsyncContextManager[None]]
"""Wraps each wait: a GPU lease may be yielded meanwhile."""


class Channels:
    """The channels of a run, and with names that begin with "mesh:" those of the mesh.

    A channel is publish and subscribe outside the graph: a message goes to all subscribers of that moment. A channel exists from
    the first use of its name, and is closed by `close` or, unless it belongs to the mesh, by the end of the run.

    Bounds: names have 1 to 128 characters, messages 1 MiB as JSON text. A run, and the mesh, have 1,024 channels at a time; a
    channel has 4,096 subscribers; per subscriber at most its limit (up to 65,536) or 16 MiB of messages wait. Up to 1,024
    publishers of one channel, or 64 MiB of their messages, can wait for slow subscribers. Calls beyond a bound raise an error.
    """

    def __init__(self, reach: Reach, *, run_id: str = "", name: str = "") -> None:
        """`reach` creates the link to the broker at the first use; `name` is the publisher and subscriber here."""
        self._reach = reach
        self._run_id = run_id
        self._name = valid_unicode(name[:MAX_NAME])
        self.waiting: Waiting = nullcontext
        """Wraps each wait; a node's context sets it."""
        self._open: set[Subscription] = set()
        self._loop = asyncio._get_running_loop()
        self._ended = False

    async def publish(self, channel: str, message: Any) -> int:
        """Publishes any JSON value. Returns the number of subscribers that got it, 0 if there are none.

        Waits while a subscriber that loses nothing has no capacity, at most 5 s; then that subscription ends. The messages of one
        publisher arrive in order at every subscriber.

        Raises:
            LanemeshError: the channel is closed ("channel-closed"), the message is not JSON or over 1 MiB, too many publishers
                wait already ("channel-busy"), or the orchestrator cannot be reached.
        """
        address = Address(self._run_id, channel)
        made = make_message(address, message, self._name)
        self._check(address)
        async with self.waiting():
            return await self._reach().publish(address, made)

    def publish_sync(self, channel: str, message: Any) -> int:
        """`publish` for synchronous bodies of nodes: their thread waits meanwhile.

        Raises:
            RuntimeError: it is called in an event loop, which must not wait.
            LanemeshError: as `publish` does.
        """
        if self._loop is None or asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "Write `await channels.publish(...)` here; `publish_sync` is for synchronous bodies of nodes."
            )
        return asyncio.run_coroutine_threadsafe(self.publish(channel, message), self._loop).result()

    def subscribe(
        self, channel: str, *, overflow: Literal["block", "drop_oldest"] = "block", limit: int = DEFAULT_LIMIT
    ) -> Subscription:
        """Returns a subscription for use in `async with`; entering it subscribes. It gets the messages published from then on.

        Args:
            channel: the name.
            overflow: what happens when `limit` messages wait. "block": publishers wait for this subscriber, at most 5 s; then it
            ends, and raises an error after its waiting messages. "drop_oldest": the oldest message is dropped, and counted in
            `dropped`.
            limit: maximum number of waiting messages, 1 to 65,536.

        Raises:
            ValueError: there is no such overflow.
        """
        return Subscription(self, Address(self._run_id, channel), Overflow(overflow), limit)

    async def close(self, channel: str) -> None:
        """Closes a channel permanently, without waiting: subscribers get their waiting messages and then the end. A later publish
        raises an error; a later subscription ends at once. Closing again has no effect."""
        address = Address(self._run_id, channel)
        self._check(address)
        async with self.waiting():
            await self._reach().close(address)

    async def release(self) -> None:
        """Ends every subscription that is still open."""
        for subscription in list(self._open):
            await subscription.close()

    async def end(self) -> None:
        """Ends the subscriptions of a component that has ended; its remaining tasks cannot publish any more."""
        self._ended = True
        await self.release()

    def _check(self, address: Address) -> None:
        if self._ended:
            what = f"{self._name} has ended, and no longer has channels"
            raise LanemeshError(channel_fault(Code.FAILED_PRECONDITION, "component-ended", address, what))


class Subscription:
    """One subscription: iterate it for messages. The end of the iteration is the end of the channel.

    `anext` waits for one message. It can be cancelled or time out without losing a message.
    """

    def __init__(self, channels: Channels, address: Address, overflow: Overflow, limit: int) -> None:
        self._channels = channels
        self._address = address
        self._overflow = overflow
        self._limit = limit
        self._link: SubscriptionLink | None = None

    @property
    def dropped(self) -> int:
        """Number of messages that were dropped for it so far; always 0 with "block"."""
        return self._link.dropped if self._link is not None else 0

    @property
    def waiting_count(self) -> int:
        """Number of messages that can be taken without waiting."""
        return self._link.waiting_count if self._link is not None else 0

    async def open(self) -> Subscription:
        """Subscribes, as entering does, and returns itself. It gets the messages that are published after it has returned. Has no
        effect if it is subscribed already.

        Raises:
            LanemeshError: the component has ended, the name or the limit is invalid, or the orchestrator cannot be reached.
        """
        if self._link is None:
            channels = self._channels
            channels._check(self._address)
            async with channels.waiting():
                link = channels._reach()
                self._link = await link.subscribe(self._address, channels._name, self._overflow, self._limit)
            channels._open.add(self)
            if channels._ended:  # meanwhile
                await self.close()
                channels._check(self._address)
        return self

    async def close(self) -> None:
        """Ends the subscription, and drops its waiting messages. The channel stays open."""
        self._channels._open.discard(self)
        if self._link is not None:
            await self._link.leave()

    async def with_publishers(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Yields (publisher, message): the publisher is a component id or the name of a client."""
        while (message := await self._next()) is not None:
            yield message.publisher, load_value(message.value)

    async def __aenter__(self) -> Subscription:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Any:
        """The next message. Raises LanemeshError if this subscriber was too slow ("subscriber-too-slow") or its orchestrator is
        lost, after the earlier messages."""
        message = await self._next()
        if message is None:
            raise StopAsyncIteration
        return load_value(message.value)

    async def _next(self) -> Message | None:
        link = self._link
        if link is None:
            raise RuntimeError("Enter it first: `async with channels.subscribe(...) as subscription:`.")
        while (message := link.take()) is None:
            if link.is_over():
                return None
            async with self._channels.waiting():
                await link.changed()
        return message
