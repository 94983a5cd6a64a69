"""What idle clients cost the gateway: event streams and WebSockets that watch a run which reports nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from websockets.asyncio.client import ClientConnection, connect

from gateways.served import Web, web

WARM_UP = 20
"""Clients that come and go before the measurement."""
OPENING = 50
"""Clients that connect at once."""
SETTLE_LIMIT_S = 20.0
SETTLE_S = 0.5
MEGABYTE = 1e6
ECHO: dict[str, Any] = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "chat_1"}]},
    ]
}

Open = Callable[[AsyncExitStack, Web, str], Awaitable[None]]


async def stream(stack: AsyncExitStack, at: Web, run_id: str) -> None:
    """Opens an event stream, and reads until the run is seen as running."""
    updates = at.events.updates(f"/v1/runs/{run_id}/events")
    stack.push_async_callback(updates.aclose)
    async for update in updates:
        if update.get("state") == "running":
            return
    raise RuntimeError("an event stream ended before the run was running")


async def socket(stack: AsyncExitStack, at: Web, run_id: str) -> None:
    """Opens a WebSocket, and waits for the reply to its first request."""
    opened = await _connected(stack, at)
    await opened.send(json.dumps({"type": "ping", "id": "1"}))
    reply = json.loads(await opened.recv())
    if reply["type"] != "pong":
        raise RuntimeError(f"the reply to a ping is {reply}")


async def watching(stack: AsyncExitStack, at: Web, run_id: str) -> None:
    """Opens a WebSocket that watches the run, and reads until the run is seen as running."""
    opened = await _connected(stack, at)
    await opened.send(json.dumps({"type": "watch", "id": "1", "run_id": run_id}))
    async for message in opened:
        if json.loads(message).get("update", {}).get("state") == "running":
            return
    raise RuntimeError("a WebSocket was closed before the run was running")


async def _connected(stack: AsyncExitStack, at: Web) -> ClientConnection:
    url = at.url.replace("http", "ws", 1) + "/v1/ws"
    return await stack.enter_async_context(connect(url, proxy=None, ping_interval=None, open_timeout=60))


@dataclass(frozen=True)
class Kind:
    """A kind of idle client."""

    open: Open
    bound_mb: float
    """What a thousand of them may occupy in the gateway, in MB."""


KINDS = {
    "event streams": Kind(stream, 60),
    "sockets": Kind(socket, 60),
    "sockets that watch a run": Kind(watching, 75),
}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What idle clients of a kind occupy."""

    kind: str
    clients: int
    mb: float


async def measure(clients: int, progress: Callable[[str], None]) -> list[Growth]:
    """The growth of a gateway by so many clients of each kind. Each kind has a gateway of its own, which has held no others."""
    found: list[Growth] = []
    for kind in KINDS:
        progress(f"{clients:,} idle {kind}")
        async with web() as served:
            found.append(Growth(kind=kind, clients=clients, mb=await growth_mb(served, kind, clients)))
    return found


async def growth_mb(at: Web, kind: str, clients: int) -> float:
    """How much the gateway grows by so many idle clients, in MB."""
    run = await at.client.start(ECHO, open_input=True)
    try:
        async with _open(at, kind, run.id, WARM_UP):
            pass
        before = await _settled(at.gateway)
        async with _open(at, kind, run.id, clients):
            return (await _settled(at.gateway) - before) / MEGABYTE
    finally:
        await run.cancel()


@asynccontextmanager
async def _open(at: Web, kind: str, run_id: str, clients: int) -> AsyncIterator[None]:
    """So many clients that watch a run."""
    async with AsyncExitStack() as stack:
        for begun in range(0, clients, OPENING):
            opening = (KINDS[kind].open(stack, at, run_id) for _ in range(min(OPENING, clients - begun)))
            await asyncio.gather(*opening)
        yield


async def _settled(process: psutil.Process) -> int:
    """Resident memory of a process in bytes, when it is the same twice."""
    last = -1
    async with asyncio.timeout(SETTLE_LIMIT_S):
        while (now := process.memory_info().rss) != last:
            last = now
            await asyncio.sleep(SETTLE_S)
    return now
