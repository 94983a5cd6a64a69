"""The HTTP client of models behind HTTP. It alone holds the key, and adds it to requests to the configured server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from lanemesh import LanemeshError

from lanemesh_services.shared.certificates import certificates
from lanemesh_services.shared.hosted_errors import Server, broken, silent, status_failure, too_long, unreachable

CONNECT_SECONDS = 10.0
"""How long a connection may take."""
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""Most bytes of one response that are read."""

OPENED: ContextVar[list[Any] | None] = ContextVar("responses that the current request has opened", default=None)
"""A list to which the client adds each response of the current context, for libraries that do not close them on time."""

_KEPT = frozenset(
    {
        *("host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"),
        *("transfer-encoding", "anthropic-version"),
    }
)
"""The headers that are sent. Client libraries add others from the environment of the process, whose values may be secret."""


def http_client(
    server: Server, auth: tuple[str, str] | None, *, silence: float, connections: int, comments: bool = True
) -> Any:
    """An `httpx2.AsyncClient` for one server.

    It follows no redirect, reads at most 64 MiB of a response, and sends no credential of the environment.

    Args:
        server: the server.
        auth: name and value of the header with the key; None: there is no key.
        silence: how many seconds may pass without a byte.
        connections: most connections at once.
        comments: pass on the comments of event streams, which some client libraries take for data.
    """
    import httpx2

    base = httpx2.URL(server.address)

    async def only_ours(request: Any) -> None:
        if (request.url.scheme, request.url.host, request.url.port) != (base.scheme, base.host, base.port):
            raise httpx2.UnsupportedProtocol(f"a request to {request.url.host} was not sent")
        for name in list(request.headers):
            if name.lower() not in _KEPT:
                del request.headers[name]
        if auth is not None:
            request.headers[auth[0]] = auth[1]
        request.headers["accept-encoding"] = "identity"  # the limit counts the bytes that are received

    async def bounded(response: Any) -> None:
        if (opened := OPENED.get()) is not None:
            opened.append(response)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise broken(server, "it is compressed, which was not asked for")
        response.stream = _bounded_stream(server, response.stream, comments)

    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(silence, connect=min(CONNECT_SECONDS, silence), pool=None),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=min(connections, 8)),
        follow_redirects=False,
        verify=certificates(),
        event_hooks={"request": [only_ours], "response": [bounded]},
    )


def _bounded_stream(server: Server, stream: Any, comments: bool) -> Any:
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        """The bytes of a response up to the limit."""

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = MAX_RESPONSE_BYTES
            keep = _all if comments else _WithoutComments()
            async for piece in stream:
                left -= len(piece)
                if left < 0:
                    raise too_long(server, MAX_RESPONSE_BYTES)
                yield keep(piece)

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()


def _all(piece: bytes) -> bytes:
    return piece


class _WithoutComments:
    """Removes the lines of a stream that begin with ":"."""

    def __init__(self) -> None:
        self._begins, self._comment = True, False

    def __call__(self, piece: bytes) -> bytes:
        kept = []
        for part in piece.splitlines(keepends=True):
            if self._begins:
                self._comment = part.startswith(b":")
            if not self._comment:
                kept.append(part)
            self._begins = part.endswith((b"\n", b"\r"))
        return b"".join(kept)


def http_failure(server: Server, error: Exception) -> LanemeshError | None:
    """The meaning of an error of the HTTP client; None if it is none of its errors."""
    import httpx2

    if isinstance(error.__cause__, LanemeshError):
        return error.__cause__
    if isinstance(error, httpx2.ConnectTimeout):
        return unreachable(server, "the connection took too long")
    if isinstance(error, httpx2.TimeoutException):
        return silent(server, error.request.extensions.get("timeout", {}).get("read") or 0.0)
    if isinstance(error, (httpx2.ReadError, httpx2.RemoteProtocolError)):
        return broken(server, f"the connection broke ({error or type(error).__name__})")
    if isinstance(error, (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)):
        return unreachable(server, error or type(error).__name__)
    return None


def response_failure(server: Server, status: int, text: object, headers: Mapping[str, str] | None) -> LanemeshError:
    """The meaning of an error response."""
    return status_failure(server, status, text, retry_after(headers or {}))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the headers "retry-after-ms" or "retry-after", which has seconds or a date; None without a valid one."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) / unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < 1e9 else None
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time())
    except (TypeError, ValueError, OverflowError):
        return None
