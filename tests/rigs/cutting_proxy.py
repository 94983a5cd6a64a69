"""A TCP proxy that cuts responses with events in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PIECE = 64 * 1024


@dataclass(slots=True)
class CuttingProxy:
    """Passes connections to a server, and aborts some of those that carry events."""

    host: str
    port: int
    cuts: int
    """Connections that are still to be cut."""
    done: int = 0
    """Connections that were cut."""
    url: str = ""
    _dice: random.Random = field(default_factory=lambda: random.Random(7))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        upstream_reader, upstream_writer = await asyncio.open_connection(self.host, self.port)
        left: list[int] = []  # bytes of the response until the cut, once events were requested

        async def requests() -> None:
            while data := await reader.read(_PIECE):
                if b"/events" in data and self.cuts > 0:
                    left[:] = [self._dice.randrange(1_000, 4_000)]
                upstream_writer.write(data)
                await upstream_writer.drain()
            upstream_writer.close()

        async def responses() -> None:
            while data := await upstream_reader.read(_PIECE):
                if left and self.cuts > 0:
                    writer.write(data[: left[0]])
                    left[0] -= len(data)
                    if left[0] <= 0:
                        self.cuts -= 1
                        self.done += 1
                        return
                else:
                    writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(requests()), asyncio.create_task(responses())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in (writer, upstream_writer):
                one.close()
                with contextlib.suppress(ConnectionError):
                    await one.wait_closed()


@asynccontextmanager
async def cutting_proxy(url: str, cuts: int) -> AsyncIterator[CuttingProxy]:
    """A proxy before a server that cuts so many connections, each after 1,000 to 4,000 bytes from the request of events on."""
    parts = urlsplit(url)
    proxy = CuttingProxy(parts.hostname or "", parts.port or 80, cuts)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
