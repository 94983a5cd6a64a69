"""HTTP/1.1 on one connection, closed if a request does not begin or its head does not end in time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""Time limit for the first byte of a connection, and for the head of each request."""

NOT_HTTP = json.dumps(
    {
        "type": "urn:lanemesh:bad-request",
        "title": "bad-request",
        "status": 400,
        "detail": "this is not a valid HTTP/1.1 request. Use an HTTP client; gRPC clients need the port of the orchestrator",
    }
).encode()
"""The body of the response to what is no request."""


class TimedProtocol(H11Protocol):
    """uvicorn's protocol with a time limit for heads of requests. Without one, silent connections would use up its limit."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begins the time limit of the first request."""
        super().connection_made(transport)
        self._limit_head()

    def data_received(self, data: bytes) -> None:
        """Ends the time limit with the end of a head, and begins one with the beginning of a head."""
        super().data_received(data)
        awaits_head = self.conn.their_state is h11.IDLE
        if not awaits_head:
            self._end_limit()
        elif self._head_timer is None and self.conn.trailing_data[0]:
            self._limit_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time limit."""
        self._end_limit()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP/1.1 request with a problem (RFC 9457), and closes the connection. `msg` is uvicorn's text."""
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(NOT_HTTP), NOT_HTTP)
        )
        self.transport.close()

    def _limit_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close)

    def _end_limit(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close(self) -> None:
        self._head_timer = None
        self.transport.close()
