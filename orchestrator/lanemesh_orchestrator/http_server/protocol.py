"""HTTP/1.1 on one connection: a time limit for the head of each request, and size limits for all that is no body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_SECONDS = 15.0
"""Time limit for the first byte of a connection, and for the head of each request."""
MAX_HEAD_BYTES = 16 * 1024
"""Largest head of a request; also the largest amount of chunk extensions and trailers between two pieces of a body."""
MAX_PIPELINED = 16
"""Most requests of a connection that wait for the response before them."""

NOT_HTTP = json.dumps(
    {
        "type": "urn:lanemesh:bad-request",
        "title": "bad-request",
        "status": 400,
        "detail": "this is not a valid HTTP/1.1 request, or its head is larger than 16 KiB. Use an HTTP client; gRPC clients need "
        "the port of the orchestrator",
    }
).encode()
"""The body of the response to what is no request."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. Without them, silent connections would use up its limit of connections, and heads, trailers
    and requests ahead of their responses would use memory without a bound."""

    _head_timer: asyncio.TimerHandle | None = None
    _awaits_head = True
    """The connection is new, or a head has begun and not ended."""
    _head_size = 0
    """Size of the headers of a head, as most clients write them."""
    _overhead = 0
    """Bytes that have arrived since the end of the last head or the last piece of a body."""

    def connection_made(self, transport: Any) -> None:
        """Begins the time limit of the first request."""
        super().connection_made(transport)
        self._limit_head()

    def data_received(self, data: bytes) -> None:
        """Ends the time limit with the end of a head, and begins one with the beginning of a head."""
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("")
        if not self._awaits_head:
            self._end_limit()
        elif self._head_timer is None:
            self._limit_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time limit."""
        self._end_limit()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP/1.1 request with a problem (RFC 9457), and closes the connection. `msg` is uvicorn's text.

        It is only closed if another response is due before: the client would take the problem for a part of that one.
        """
        earlier = self.cycle is not None and not self.cycle.response_complete
        if not earlier or (self.cycle.more_body and not self.cycle.response_started):  # otherwise its body is invalid
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(NOT_HTTP), NOT_HTTP)
            )
        self.transport.close()

    def on_message_begin(self) -> None:
        """A head has begun."""
        self._awaits_head = True
        self._head_size = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header; trailers are dropped, because requests were checked by their headers."""
        if self._awaits_head:
            self._head_size += len(name) + len(value) + 4
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head has ended. Raises ValueError, which uvicorn answers as above, if the head or what waits is too large."""
        self._awaits_head = False
        self._overhead = 0
        if self._head_size + len(self.url) > MAX_HEAD_BYTES or len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("the head is too large, or too many requests wait")
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["http_version"] == "1.0":
            self.cycle.send = _unchunked(self.cycle)  # type: ignore[assignment, method-assign]

    def on_body(self, body: bytes) -> None:
        """Takes a piece of a body."""
        self._overhead = 0
        super().on_body(body)

    def _limit_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close)

    def _end_limit(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close(self) -> None:
        self._head_timer = None
        self.transport.close()


def _unchunked(cycle: RequestResponseCycle) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Sends a response to an HTTP/1.0 client, which knows no chunks: without a length, the end of the connection ends its body
    (RFC 9112, section 6.3). uvicorn closes the connection of such a client after its response."""
    original, is_open_ended = cycle.send, False

    async def send(message: Any) -> None:
        nonlocal is_open_ended
        if message["type"] == "http.response.start":
            is_open_ended = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if is_open_ended:
                cycle.chunked_encoding = False
        elif is_open_ended:
            cycle.expected_content_length = len(message.get("body", b""))
        await original(message)

    return send
