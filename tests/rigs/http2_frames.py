"""HTTP/2 by hand: connections that say as little as they can, one byte after the other if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = END_STREAM = 1
END_HEADERS = 4


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """One frame (RFC 9113, section 4.1)."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def request(method: str, stream: int = 1) -> bytes:
    """The headers of a gRPC call, without the end of the stream."""

    def literal(name: bytes, value: str) -> bytes:
        return name + bytes([len(value)]) + value.encode()

    def named(name: str, value: str) -> bytes:
        return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    post, http = b"\x83", b"\x86"  # entries of the static table (RFC 7541, appendix A)
    path, authority = literal(b"\x04", method), literal(b"\x01", "localhost")
    block = post + http + path + authority + named("te", "trailers") + named("content-type", "application/grpc")
    return frame(HEADERS, END_HEADERS, stream, block)


def frames(received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The whole frames of what has been received: kind, flags, stream and content."""
    while len(received) >= 9 and len(received) >= 9 + (size := int.from_bytes(received[:3], "big")):
        yield received[3], received[4], int.from_bytes(received[5:9], "big"), received[9 : 9 + size]
        received = received[9 + size :]


class IdleConnection(asyncio.Protocol):
    """A connection that speaks HTTP/2, answers pings and does nothing."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        """The server has sent its settings, or has closed the connection."""
        self.is_closed = False
        """The server has closed it."""
        self.is_refused = False
        """It closed it without a word."""
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(PREFACE + frame(SETTINGS, 0, 0))

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        for kind, flags, stream, content in frames(self._received):
            self._received = self._received[9 + len(content) :]
            if kind == SETTINGS and not flags & ACK:
                self._transport.write(frame(SETTINGS, ACK, stream))
                self.ready.set()
            elif kind == PING and not flags & ACK:
                self._transport.write(frame(PING, ACK, stream, content))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed, self.is_refused = True, not self.ready.is_set()
        self.ready.set()

    def close(self) -> None:
        """Closes it."""
        if self._transport is not None:
            self._transport.abort()
