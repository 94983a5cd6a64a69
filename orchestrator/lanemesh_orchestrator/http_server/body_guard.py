"""Closes connections whose request was answered before its body had arrived."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lanemesh_orchestrator.http_server.heads import header

LINGER_BYTES = 16 * 1024 * 1024
"""Most bytes of a body that are discarded after its request was answered."""
LINGER_SECONDS = 2.0
"""How long they are waited for at most."""


class BodyGuard:
    """Adds `Connection: close` to a response that begins before the end of the body. Otherwise the rest of a body that was refused
    would still be received, however large it is.

    Before the connection is closed, a part of the rest is discarded: a client that still sends would otherwise find a broken
    connection in place of the response (RFC 9112, section 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        ended = early = False

        async def noted() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        async def closing(message: Message) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and not ended:
                early = True
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if early and is_last and not ended:
                await send({**message, "more_body": True})
                await _discard(noted)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self._app(scope, noted, closing)


async def _discard(receive: Receive) -> None:
    """Reads the rest of a body, up to its end or a limit."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        pass


def _has_body(scope: Scope) -> bool:
    return header(scope, b"transfer-encoding") is not None or header(scope, b"content-length") not in (None, "0")
