"""Connections to peers that go away."""

from __future__ import annotations

import asyncio
import math
import socket

import grpc
import grpc.aio
import pytest
from lanemesh._grpc import connections
from lanemesh._grpc.connections import ConnectionPool


async def _serve(port: int = 0) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(options=connections.SERVER_OPTIONS)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


async def test_a_connection_that_is_gone_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "DIAL_SECONDS", 0.0)
    server, port = await _serve()
    pool, address = ConnectionPool(), f"127.0.0.1:{port}"
    first = pool.acquire(address)
    await first.channel_ready()
    assert pool.acquire(address) is first
    assert pool.channel(address) is first
    await server.stop(None)
    await asyncio.wait_for(first.wait_for_state_change(grpc.ChannelConnectivity.READY), 5)
    second = pool.acquire(address)
    assert second is not first
    pool.release(first)
    server, _ = await _serve(port)
    await asyncio.wait_for(pool.channel(address).channel_ready(), 5)
    await pool.close()
    await server.stop(None)


async def test_a_connection_that_is_not_up_yet_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "DIAL_SECONDS", math.inf)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a connection that was refused would be gone
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for _ in range(50):  # another thread dials, mostly after the second call and sometimes before
            pool = ConnectionPool()
            assert pool.acquire(address) is pool.acquire(address)
            await pool.close()
