"""ChannelService over gRPC: a thin shell around the broker of this process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc.aio
from lanemesh._grpc.status import abort
from lanemesh._grpc.writing import write
from lanemesh.channels.local import LocalChannels, LocalSubscription
from lanemesh.channels.messages import DEFAULT_LIMIT, MAX_NAME, Address, Overflow, read_message
from lanemesh.faults import LanemeshError
from lanemesh.protocol import IDLE_FRAME_SECONDS
from lanemesh.v1 import channel_pb2, channel_pb2_grpc

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class ChannelService(channel_pb2_grpc.ChannelServiceServicer):
    """Serves a broker to node servers and clients."""

    def __init__(self, channels: LocalChannels) -> None:
        self._channels = channels
        self._subscriptions: dict[str, LocalSubscription] = {}

    async def Publish(self, request: channel_pb2.PublishRequest, context: Context) -> channel_pb2.PublishResponse:
        """Delivers a message to every subscriber."""
        address = _address(request.channel)

        async def publish() -> int:
            return await self._channels.publish(address, read_message(address, request.message))

        return channel_pb2.PublishResponse(subscribers=await _answered(publish(), context))

    async def Subscribe(  # type: ignore[override]
        self, request: channel_pb2.SubscribeRequest, context: Context
    ) -> None:
        """Sends the messages of a channel from now on, until the call ends."""
        drops = request.overflow == channel_pb2.OVERFLOW_DROP_OLDEST
        overflow = Overflow.DROP_OLDEST if drops else Overflow.BLOCK
        subscriber = await _answered(self._subscribe(request, overflow), context)
        subscription = LocalSubscription(self._channels.broker, subscriber, hold=request.acknowledges)
        name = secrets.token_hex(8)
        self._subscriptions[name] = subscription
        try:
            subscribed = channel_pb2.Subscribed(subscription_id=name)
            await write(context, channel_pb2.SubscribeResponse(subscribed=subscribed))
            await self._send(subscription, context)
        finally:  # also when the client has disconnected, which cancels this call
            del self._subscriptions[name]
            await subscription.leave()

    async def _subscribe(self, request: channel_pb2.SubscribeRequest, overflow: Overflow) -> Any:
        limit = request.limit or DEFAULT_LIMIT
        name = request.subscriber[:MAX_NAME]
        return self._channels.broker.subscribe(_address(request.channel), name, overflow, limit)

    async def _send(self, subscription: LocalSubscription, context: Context) -> None:
        """Sends waiting messages; an empty frame after 20 s of silence."""
        closed = channel_pb2.ChannelClosed()
        while True:
            while (message := subscription.take()) is not None:
                wire = channel_pb2.ChannelMessage(value_json=message.value, publisher=message.publisher)
                await write(context, channel_pb2.SubscribeResponse(message=wire, dropped=subscription.dropped))
            try:
                if subscription.is_over():
                    break
            except LanemeshError as error:
                closed.fault.CopyFrom(error.fault.to_proto())
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_FRAME_SECONDS):
                    await subscription.changed()
                continue
            await write(context, channel_pb2.SubscribeResponse(dropped=subscription.dropped))
        await write(context, channel_pb2.SubscribeResponse(closed=closed, dropped=subscription.dropped))

    async def Acknowledge(
        self, request: channel_pb2.AcknowledgeRequest, context: Context
    ) -> channel_pb2.AcknowledgeResponse:
        """Records the acknowledgement of a subscriber."""
        subscription = self._subscriptions.get(request.subscription_id)
        if subscription is not None:
            subscription.acknowledge(request.taken)
        return channel_pb2.AcknowledgeResponse()

    async def CloseChannel(
        self, request: channel_pb2.CloseChannelRequest, context: Context
    ) -> channel_pb2.CloseChannelResponse:
        """Closes a channel."""
        await _answered(self._channels.close(_address(request.channel)), context)
        return channel_pb2.CloseChannelResponse()


def _address(wire: channel_pb2.ChannelName) -> Address:
    return Address(wire.run_id, wire.name)


async def _answered(work: Coroutine[Any, Any, T], context: Context) -> T:
    """Awaits the result of an operation; aborts the call with its fault if it fails."""
    try:
        return await work
    except LanemeshError as error:
        await abort(context, error.fault)
