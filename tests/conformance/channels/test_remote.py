"""The way to a broker elsewhere, where that does not do as it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest
from lanemesh._grpc.connections import ConnectionPool
from lanemesh.channels.messages import Address, Overflow
from lanemesh.channels.remote import RemoteChannels
from lanemesh.faults import LanemeshError
from lanemesh.v1 import channel_pb2, channel_pb2_grpc

NEWS = Address("r", "news")


class Deaf(channel_pb2_grpc.ChannelServiceServicer):
    """Sends one message, and never answers to an acknowledgement."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def Subscribe(self, request: channel_pb2.SubscribeRequest, context: object) -> AsyncIterator[object]:  # type: ignore[override]
        yield channel_pb2.SubscribeResponse(subscribed=channel_pb2.Subscribed(subscription_id="1"))
        yield channel_pb2.SubscribeResponse(message=channel_pb2.ChannelMessage(value_json="1"))
        await asyncio.Event().wait()

    async def Publish(self, request: channel_pb2.PublishRequest, context: object) -> channel_pb2.PublishResponse:
        return channel_pb2.PublishResponse()

    async def CloseChannel(
        self, request: channel_pb2.CloseChannelRequest, context: object
    ) -> channel_pb2.CloseChannelResponse:
        return channel_pb2.CloseChannelResponse()

    async def Acknowledge(self, request: channel_pb2.AcknowledgeRequest, context: object) -> None:  # type: ignore[override]
        self.told.set()
        await asyncio.Event().wait()


@pytest.fixture
async def pool() -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool()
    yield pool
    await pool.close()


async def test_leaving_waits_for_no_answer(pool: ConnectionPool) -> None:
    deaf, server = Deaf(), grpc.aio.server()
    channel_pb2_grpc.add_ChannelServiceServicer_to_server(deaf, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        subscription = await RemoteChannels(pool, f"127.0.0.1:{port}").subscribe(NEWS, "me", Overflow.BLOCK, 1)
        await subscription.changed()
        assert subscription.take() is not None
        await deaf.told.wait()
        await asyncio.wait_for(subscription.leave(), 5)
        assert subscription.is_over()
    finally:
        await server.stop(0)


@pytest.mark.parametrize("limit", [-1, 0, 65_537, 2**40])
async def test_a_limit_that_is_none_is_refused_here_already(pool: ConnectionPool, limit: int) -> None:
    with pytest.raises(LanemeshError, match="a number from 1 to 65,536"):
        await RemoteChannels(pool, "127.0.0.1:1").subscribe(NEWS, "me", Overflow.BLOCK, limit)


async def test_a_name_that_is_none_is_refused_here_already(pool: ConnectionPool) -> None:
    channels = RemoteChannels(pool, "127.0.0.1:1")
    name = Address("r", "\ud800")
    for act in (channels.subscribe(name, "me", Overflow.BLOCK, 1), channels.close(name)):
        with pytest.raises(LanemeshError, match="printable characters"):
            await act
