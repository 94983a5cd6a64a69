"""Rejects what pages of other sites send, whether or not they could read the response."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from lanemesh_orchestrator.gateway.guard.refusal import header, refuse

_DEFAULT_PORTS = {"http": "80", "https": "443"}


class OriginGuard:
    """Passes requests without an origin, of the gateway's own origin, and of permitted ones.

    Browsers send `Origin` with everything but simple GET requests, and `Sec-Fetch-Site` with all requests to a secure context or
    localhost. A navigation from another site, which is a GET, is passed.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        """`origins`: such as "https://app.example"."""
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes or refuses a request."""
        if scope["type"] in ("http", "websocket") and self._is_foreign(scope):
            message = (
                "a page of another site sent the request. Start the gateway with --origin and the origin of that site, such as "
                "https://app.example, to permit that"
            )
            await refuse(scope, receive, send, 403, "foreign-origin", message)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        origin = header(scope, b"origin")
        if origin is not None:
            return origin not in self._origins and not same_origin(origin, header(scope, b"host") or "")
        if header(scope, b"sec-fetch-site") not in ("cross-site", "same-site"):
            return False
        is_navigation = header(scope, b"sec-fetch-mode") == "navigate" and scope.get("method") in ("GET", "HEAD")
        return not is_navigation


def same_origin(origin: str, host: str) -> bool:
    """Whether an origin is that of a `Host` header. The scheme may differ: a proxy may have ended TLS."""
    scheme, _, rest = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None or not rest:
        return False
    return rest.lower().removesuffix(f":{port}") == host.lower().removesuffix(f":{port}")
