"""An HTTP client that reads server-sent events: h11 over the streams of asyncio, so that little of what is measured is its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import h11

READ_BYTES = 65_536


class EventClient:
    """Requests to one address; connections are kept for further requests."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._idle: list[_Connection] = []

    async def updates(self, path: str, body: bytes = b"") -> AsyncGenerator[dict[str, Any], None]:
        """The updates of the stream of events that a request is answered with. With a body it is a POST, otherwise a GET.

        Raises:
            RuntimeError: the response is another one.
        """
        connection = self._idle.pop() if self._idle else await _Connection.open(self._address)
        rest = b""
        try:
            async with aclosing(connection.response(path, body)) as chunks:
                async for chunk in chunks:
                    *events, rest = (rest + chunk).split(b"\n\n")
                    for event in events:
                        _, found, data = event.partition(b"data: ")
                        if found:
                            yield json.loads(data)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Closes the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Connection:
    """One connection of HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, address: tuple[str, int]) -> _Connection:
        return cls(*await asyncio.open_connection(*address))

    def close(self) -> None:
        self._writer.close()

    async def response(self, path: str, body: bytes) -> AsyncGenerator[bytes, None]:
        """The body of a response, in the pieces in which it arrives."""
        headers = [("host", "127.0.0.1"), ("accept", "text/event-stream"), ("content-length", str(len(body)))]
        request = h11.Request(method="POST" if body else "GET", target=path, headers=headers)
        parts = [self._state.send(request), self._state.send(h11.Data(body)), self._state.send(h11.EndOfMessage())]
        self._writer.write(b"".join(part for part in parts if part))
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                self._state.receive_data(await self._reader.read(READ_BYTES))
            elif isinstance(event, h11.Response) and event.status_code != 200:
                raise RuntimeError(f"{path} is answered with {event.status_code}")
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._state.start_next_cycle()
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise RuntimeError(f"the connection was closed before the response to {path}")
