"""Closes connections whose request was answered before its body had arrived."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lanemesh_orchestrator.gateway.guard.refusal import header


class BodyGuard:
    """Adds `Connection: close` to a response that begins before the end of the body. Otherwise the rest of a body that was refused
    would still be received, however large it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        ended = False

        async def noted() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not ended:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, noted, closing)


def _has_body(scope: Scope) -> bool:
    return header(scope, b"transfer-encoding") is not None or header(scope, b"content-length") not in (None, "0")
