"""Rejects what pages of other sites send, whether or not they could read the response."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from lanemesh_orchestrator.gateway.guard.refusal import refuse
from lanemesh_orchestrator.http_server.heads import is_foreign


class OriginGuard:
    """Passes requests without an origin, of the gateway's own origin, and of permitted ones."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        """`origins`: such as "https://app.example"."""
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes or refuses a request."""
        if scope["type"] in ("http", "websocket") and is_foreign(scope, self._origins):
            message = (
                "a page of another site sent the request. Start the gateway with --origin and the origin of that site, such as "
                "https://app.example, to permit that"
            )
            await refuse(scope, receive, send, 403, "foreign-origin", message)
            return
        await self._app(scope, receive, send)
