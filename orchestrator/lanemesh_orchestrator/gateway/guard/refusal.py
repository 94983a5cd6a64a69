"""Refuses a request or the handshake of a WebSocket."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from lanemesh_orchestrator.gateway.dialects import refusal


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    reason: str,
    message: str,
    headers: dict[str, str] | None = None,
) -> None:
    """Answers with a problem, or an error of the API to which the path belongs. The arguments after those of ASGI are those of
    `problem`."""
    response = refusal(scope["path"], status, reason, message, headers)
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    await response(scope, receive, send)
