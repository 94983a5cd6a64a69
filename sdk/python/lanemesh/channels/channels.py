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
"""Goes around each wait: a GPU lease may be yielded meanwhile."""


class Channels:
    """The channels of a run, and with names that begin with "mesh:" those of the mesh.

    A channel is named broadcast outside the graph: what is published goes to everyone who subscribes at that moment. It is
    there as soon as somebody uses its name, and is closed by `close` or, unless it belongs to the mesh, by the run's end.

    Bounds: names have 1 to 128 characters, messages 1 MiB as JSON text. A run, and the mesh, have 1,024 channels at a time; a
    channel has 4,096 subscribers; for a subscriber wait at most its limit (to 65,536) or 16 MiB. Up to 1,024 publishers of one
    channel, or 64 MiB of their messages, can wait for slow subscribers. What goes beyond is refused by an error.
    """

    def __init__(self, reach: Reach, *, run_id: str = "", name: str = "") -> None:
        """`reach` makes the way to the broker when it is first needed; `name` is who publishes and subscribes here."""
        self._reach = reach
        self._run_id = run_id
        self._name = valid_unicode(name[:MAX_NAME])
        self.waiting: Waiting = nullcontext
        """Goes around each wait; a node's context sets it."""
        self._open: set[Subscription] = set()
        self._loop = asyncio._get_running_loop()
        self._ended = False

    async def publish(self, channel: str, message: Any) -> int:
        """Publishes any JSON value. Returns how many subscribers have got it, 0 if there are none.

        Waits while a subscriber that loses nothing has no room, at most 5 s; then that one is given up. The messages of one
        publisher reach everyone in the order in which it published them.

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
        """A subscription, for `async with`: on entering it is registered, and gets what is published from then on.

        Args:
            channel: the name.
            overflow: what happens when `limit` messages wait. "block": publishers wait for this subscriber, but not for more
                than 5 s; then it is given up, and raises an error after what it still has. "drop_oldest": the oldest message
                is dropped, and counted in `lost`.
            limit: most messages that wait, 1 to 65,536.

        Raises:
            ValueError: there is no such overflow.
        """
        return Subscription(self, Address(self._run_id, channel), Overflow(overflow), limit)

    async def close(self, channel: str) -> None:
        """Closes a channel for good, without waiting: subscribers get what waits for them and then the end; who publishes
        afterwards gets an error, and who subscribes the end at once. Closing again changes nothing."""
        address = Address(self._run_id, channel)
        self._check(address)
        async with self.waiting():
            await self._reach().close(address)

    async def release(self) -> None:
        """Ends every subscription that is still open."""
        for subscription in list(self._open):
            await subscription.leave()

    async def end(self) -> None:
        """The component has ended: so do its subscriptions, and what it left running publishes no more."""
        self._ended = True
        await self.release()

    def _check(self, address: Address) -> None:
        if self._ended:
            what = f"{self._name} has ended, and no longer has channels"
            raise LanemeshError(channel_fault(Code.FAILED_PRECONDITION, "component-ended", address, what))


class Subscription:
    """One subscription: iterate it for messages. The end of the iteration is the end of the channel.

    `anext` waits for one message, and may be cancelled or given a timeout without losing any.
    """

    def __init__(self, channels: Channels, address: Address, overflow: Overflow, limit: int) -> None:
        self._channels = channels
        self._address = address
        self._overflow = overflow
        self._limit = limit
        self._link: SubscriptionLink | None = None

    @property
    def lost(self) -> int:
        """How many messages were dropped for it so far; always 0 with "block"."""
        return self._link.lost if self._link is not None else 0

    @property
    def ready(self) -> int:
        """How many messages are here, to be had without waiting."""
        return self._link.ready if self._link is not None else 0

    async def enter(self) -> Subscription:
        """Subscribes; registered when it returns. Does nothing if it has."""
        if self._link is None:
            channels = self._channels
            channels._check(self._address)
            async with channels.waiting():
                link = channels._reach()
                self._link = await link.subscribe(self._address, channels._name, self._overflow, self._limit)
            channels._open.add(self)
            if channels._ended:  # meanwhile
                await self.leave()
                channels._check(self._address)
        return self

    async def leave(self) -> None:
        """Ends the subscription. What waits for it is dropped."""
        self._channels._open.discard(self)
        if self._link is not None:
            await self._link.leave()

    async def pairs(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Who published and what: the id of a component, or what a client calls itself."""
        while (message := await self._next()) is not None:
            yield message.publisher, load_value(message.value)

    async def __aenter__(self) -> Subscription:
        return await self.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Any:
        """The next message. Raises LanemeshError if this subscriber was given up ("subscriber-given-up") or its orchestrator
        is lost, after what came before."""
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
