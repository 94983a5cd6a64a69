"""Keeps pages of other sites away from a server whose only clients are programs."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lanemesh_orchestrator.http_server.heads import header, host_name, is_foreign, is_local


class PageGuard:
    """Answers requests of pages of other sites with 403, and those for foreign host names with 421."""

    def __init__(self, app: ASGIApp, *, any_host: bool) -> None:
        """The guard of an application.

        Args:
            app: the application.
            any_host: clients may reach the server by any name, because they need a token or it is not at a loopback address. A page
                whose name was rebound to a loopback address would otherwise be of the same origin.
        """
        self._app = app
        self._any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes or refuses a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif is_foreign(scope):
            message = "a page of another site sent the request. Clients are programs"
            await JSONResponse({"error": "foreign-origin", "message": message}, 403)(scope, receive, send)
        elif not (self._any_host or is_local(host_name(header(scope, b"host") or ""))):
            message = "without a token, this server is reached as localhost or by an IP address. Give --token-file for other names"
            await JSONResponse({"error": "unknown-host", "message": message}, 421)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
