"""The HTTP client for MCP servers that are reached by a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx2

MAX_RESPONSE = 64 * 1024 * 1024
"""Most bytes of one response, an event stream included."""
CONNECT_SECONDS = 10.0
SESSION_LOST = -32_090
"""The code of the error that a request gets if the server no longer knows its session. The server has not handled the request."""


def http_client(headers: Mapping[str, str], read_seconds: float) -> httpx2.AsyncClient:
    """A client with these headers. `read_seconds` is the longest time without a byte of a response."""
    timeout = httpx2.Timeout(CONNECT_SECONDS, read=read_seconds)
    transport = _Limited(httpx2.AsyncHTTPTransport(retries=1))
    return httpx2.AsyncClient(headers=dict(headers), timeout=timeout, transport=transport)


class _Limited(httpx2.AsyncBaseTransport):
    """Ends a response to a POST that is too large. The response to a GET is the server's own stream, which lasts.

    MCP: a request with a session is answered with the status 404 if there is no such session. What else such a response has differs
    from server to server, so an error with the code `SESSION_LOST` replaces it.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"  # the limit counts the bytes that are received
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise httpx2.ReadError("the response is compressed, which was not asked for")
        if request.method == "POST" and response.status_code == 404 and "mcp-session-id" in request.headers:
            await response.aclose()
            error = {"code": SESSION_LOST, "message": "the server no longer knows the session"}
            return httpx2.Response(404, json={"jsonrpc": "2.0", "id": None, "error": error})
        if request.method == "POST" and isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _LimitedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _LimitedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner
        self._left = MAX_RESPONSE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._left -= len(chunk)
            if self._left < 0:
                raise httpx2.ReadError(f"the response has more than {MAX_RESPONSE:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
