"""HTTP to checked hosts alone. Every request, also that of a redirect, goes to an address that was checked for it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence

import httpx2
from lanemesh.extend import CallFailed, matches_host

from lanemesh_services.shared.hosts import permitted_addresses

_PORTS = {"http": 80, "https": 443}
_ENCODINGS = ("", "identity")
_FRAMING = ("content-length", "content-encoding", "transfer-encoding")


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Checks the host of each request and its addresses, and connects to one of these addresses. TLS verifies the host's name.

    A response that is compressed raises `httpx2.DecodingError`, since the limits of readers count the bytes that are received. The
    content of a redirect, which clients read without a limit, is dropped.
    """

    def __init__(
        self,
        verify: ssl.SSLContext,
        hosts: Sequence[str],
        headers: Mapping[str, Mapping[str, str]],
        may_be_private: Callable[[str, int], bool],
    ) -> None:
        """
        Args:
            verify: how servers are verified.
            hosts: the hosts that may be requested.
            headers: headers of the requests to each host.
            may_be_private: whether a host, by its name and port, may have an address that is not public.
        """
        # Connections are not kept: they would be reused by address, for whatever host has it.
        self._inner = httpx2.AsyncHTTPTransport(
            verify=verify, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
        )
        self._hosts = hosts
        self._headers = headers
        self._may_be_private = may_be_private

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request. Raises CallFailed ("host-not-allowed") if its host is not allowed."""
        url = request.url
        host, port = url.host, url.port or _PORTS.get(url.scheme, 0)
        if url.scheme not in _PORTS or not host:
            raise CallFailed(
                "bad-arguments", f'the URL {str(url)[:200]} does not begin with "http://" or "https://" and a host'
            )
        if url.userinfo:
            raise CallFailed("bad-arguments", "a URL must not contain a user or a password")
        if not any(matches_host(pattern, host) for pattern in self._hosts):
            allowed = ", ".join(self._hosts)
            raise CallFailed("host-not-allowed", f"the host {host} is not allowed; the allowed ones: {allowed}")
        private = self._may_be_private(host, port)
        addresses = await permitted_addresses(host, port, private=private)
        headers = request.headers.copy()
        safe = private or (url.scheme == "https" and port == _PORTS["https"])
        for pattern, own in self._headers.items():
            if safe and matches_host(pattern, host):
                headers.update(own)
        return await self._send(request, headers, host, addresses)

    async def _send(
        self, request: httpx2.Request, headers: httpx2.Headers, host: str, addresses: Sequence[str]
    ) -> httpx2.Response:
        """Sends it to the first of these addresses that can be connected to."""
        for position, address in enumerate(addresses):
            checked = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await _limited(checked, await self._inner.handle_async_request(checked))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if position == len(addresses) - 1:
                    raise
        raise CallFailed("unknown-host", f"the host {host} has no address")

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._inner.aclose()


async def _limited(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """A response that readers can limit. Raises httpx2.DecodingError if it is compressed."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in _ENCODINGS and request.method != "HEAD":
        await response.aclose()
        raise httpx2.DecodingError("the response is compressed, which was not asked for", request=request)
    if not response.has_redirect_location:
        return response
    await response.aclose()
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in _FRAMING]
    return httpx2.Response(response.status_code, headers=headers, content=b"", extensions=response.extensions)
