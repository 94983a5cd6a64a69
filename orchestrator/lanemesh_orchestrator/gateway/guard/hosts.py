"""Rejects requests for foreign host names, so that a page of another site cannot reach the gateway by DNS rebinding."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from lanemesh_orchestrator.gateway.guard.refusal import refuse
from lanemesh_orchestrator.http_server.heads import header, host_name, is_local


class HostGuard:
    """Passes requests for IP addresses, localhost and some names. A page in a browser cannot choose the `Host` header, and a name
    whose address was rebound is still the name of the page."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        """`names`: further host names."""
        self._app = app
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes or refuses a request."""
        if scope["type"] in ("http", "websocket"):
            host = header(scope, b"host")
            if not host:
                message = "a request has one Host header"
                await refuse(scope, receive, send, 400, "bad-request", message)
                return
            name = host_name(host)
            if not (is_local(name) or name in self._names):
                message = (
                    f'the gateway is not reached as "{name[:80]}". Start it with --host-name {name[:80]} to permit that'
                )
                await refuse(scope, receive, send, 421, "unknown-host", message)
                return
        await self._app(scope, receive, send)
