"""Requires the token of the gateway."""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections.abc import Collection

from lanemesh._grpc.bearer import token_of_caller
from starlette.types import ASGIApp, Receive, Scope, Send

from lanemesh_orchestrator.gateway.gateway import SENT_TOKEN
from lanemesh_orchestrator.gateway.guard.refusal import refuse
from lanemesh_orchestrator.http_server.heads import header

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

    def __init__(self, app: ASGIApp, token: str, signed: Collection[str] = (), *, mesh_tokens: bool = False) -> None:
        """The guard of an application.

        Args:
            app: the application.
            token: the token; empty: none is required.
            signed: deployments whose webhooks require a signature instead, which the webhook checks.
            mesh_tokens: any token is passed on to the mesh, which checks it.
        """
        self._mesh_tokens = mesh_tokens
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
        if scope["type"] in ("http", "websocket") and self._mesh_tokens and not self._is_signed(scope):
            token = sent_token(scope)
            if not token and not is_open(scope):
                message = "send a token of the mesh as Authorization: Bearer TOKEN"
                await refuse(scope, receive, send, 401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
                return
            with token_of_caller(token) if token else contextlib.nullcontext():
                await self._app({**scope, SENT_TOKEN: token}, receive, send)
            return
        await self._app(scope, receive, send)

    def _passes(self, scope: Scope) -> bool:
        return self._is_signed(scope) or is_open(scope) or has_token(scope, self._token)

    def _is_signed(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"] in self._signed


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


def sent_token(scope: Scope) -> str:
    """The token that a request carries, in one of the same places; empty if it has none, or one that no gRPC call can carry."""
    given = header(scope, b"authorization") or ""
    token = given[7:].strip() if given[:7].lower() == "bearer " else (header(scope, b"x-api-key") or "").strip()
    if not token and scope["type"] == "websocket":
        offered = [one.strip() for one in (header(scope, b"sec-websocket-protocol") or "").split(",")]
        coded = next((one.removeprefix(SUBPROTOCOL) for one in offered if one.startswith(SUBPROTOCOL)), "")
        with contextlib.suppress(ValueError):
            token = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()
    return token if token.isascii() and token.isprintable() and " " not in token else ""
