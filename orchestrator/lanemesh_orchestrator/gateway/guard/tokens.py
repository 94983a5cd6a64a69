"""Requires the token of the gateway."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from lanemesh_orchestrator.gateway.guard.refusal import header, refuse

OPEN_PATHS = frozenset({"/", "/healthz", "/v1/docs", "/v1/docs.css", "/v1/openapi.json"})
"""Paths that need no token: the page, in which a user enters the token, and what holds nothing of the mesh."""
OPEN_PREFIX = "/assets/"
"""Where the files of the page are, which need no token either."""
HOOKS = "/hooks/"
"""Where webhooks are, each with the name of its deployment."""
SUBPROTOCOL = "lanemesh.token."
"""How the subprotocol of a WebSocket begins that carries the token in base64url without padding, because browsers cannot send the
header."""


class TokenGuard:
    """Answers requests without the token with 401."""

    def __init__(self, app: ASGIApp, token: str, signed: Collection[str] = ()) -> None:
        """The guard of an application.

        Args:
            app: the application.
            token: the token; empty: none is required.
            signed: deployments whose webhooks require a signature instead, which the webhook checks.
        """
        self._app = app
        self._signed = frozenset(f"{HOOKS}{name}" for name in signed)
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes or refuses a request."""
        if scope["type"] in ("http", "websocket") and self._token and not self._passes(scope):
            message = "send the token of this gateway as Authorization: Bearer TOKEN"
            headers = {"WWW-Authenticate": "Bearer"}
            await refuse(scope, receive, send, 401, "unauthorized", message, headers)
            return
        await self._app(scope, receive, send)

    def _passes(self, scope: Scope) -> bool:
        is_signed = scope["type"] == "http" and scope["path"] in self._signed
        return is_signed or is_open(scope) or has_token(scope, self._token)


def is_open(scope: Scope) -> bool:
    """Whether a request needs no token."""
    path = scope["path"]
    is_read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    return is_read and (path in OPEN_PATHS or path.startswith(OPEN_PREFIX))


def has_token(scope: Scope, token: bytes) -> bool:
    """Whether a request carries the token: as a bearer token, as an `x-api-key`, which SDKs of Anthropic send, or as the
    subprotocol of a WebSocket."""
    given = (header(scope, b"authorization") or "").encode()
    if given[:7].lower() == b"bearer " and hmac.compare_digest(given[7:].strip(), token):
        return True
    if hmac.compare_digest((header(scope, b"x-api-key") or "").encode(), token):
        return True
    if scope["type"] != "websocket":
        return False
    offered = [one.strip() for one in (header(scope, b"sec-websocket-protocol") or "").split(",")]
    wanted = SUBPROTOCOL + base64.urlsafe_b64encode(token).decode().rstrip("=")
    return any(hmac.compare_digest(one.encode(), wanted.encode()) for one in offered)
