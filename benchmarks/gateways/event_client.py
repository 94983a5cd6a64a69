"""An HTTP client that reads server-sent events, so that little of what is measured is its own.

As browsers and HTTP libraries do, it keeps its connections alive, parses HTTP by a native parser, and parses the JSON of every
event. The gRPC client beside it keeps its connection too, and parses every update by native code.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httptools

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
        connection = await self._connection()
        rest = b""
        try:
            async with aclosing(connection.response(path, body)) as pieces:
                async for piece in pieces:
                    *events, rest = (rest + piece).split(b"\n\n")
                    for event in events:
                        _, found, data = event.partition(b"data: ")
                        if found:
                            yield json.loads(data)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    async def _connection(self) -> _Connection:
        """An idle connection that the server has not closed, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
            connection.close()
        return await _Connection.open(self._address)

    def close(self) -> None:
        """Closes the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Connection:
    """One connection of HTTP/1.1, with the callbacks of its parser."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._has_ended = False

    @classmethod
    async def open(cls, address: tuple[str, int]) -> _Connection:
        return cls(*await asyncio.open_connection(*address))

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it."""
        return self._reader.at_eof()

    def close(self) -> None:
        self._writer.close()

    async def response(self, path: str, body: bytes) -> AsyncGenerator[bytes, None]:
        """The body of a response, in the pieces in which it arrives."""
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
        self._has_ended = False
        self._writer.write(head.encode() + body)
        while not self._has_ended:
            received = await self._reader.read(READ_BYTES)
            if not received:
                raise RuntimeError(f"the connection was closed before the end of the response to {path}")
            self._parser.feed_data(received)
            if (status := self._parser.get_status_code()) != 200:
                raise RuntimeError(f"{path} is answered with {status}")
            pieces, self._body = self._body, []
            if pieces:
                yield b"".join(pieces)

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)

    def on_message_complete(self) -> None:
        self._has_ended = True
