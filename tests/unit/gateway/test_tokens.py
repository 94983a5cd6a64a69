"""The token of WebSockets, whose browsers cannot send headers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from lanemesh_orchestrator.gateway.guard.tokens import SUBPROTOCOL, TokenGuard
from starlette.types import Message, Receive, Scope, Send

TOKEN = "tökén/+"


def encoded(token: str) -> str:
    """A token as a subprotocol."""
    return SUBPROTOCOL + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


async def answer(scope: dict[str, Any]) -> list[Message]:
    """What a guarded application sends."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "passed"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    await TokenGuard(app, TOKEN)({"path": "/v1/ws", **scope}, receive, send)
    return sent


@pytest.mark.parametrize("offered", [encoded(TOKEN), f"lanemesh, {encoded(TOKEN)}"])
async def test_a_websocket_may_send_the_token_as_a_subprotocol(offered: str) -> None:
    headers = [(b"sec-websocket-protocol", offered.encode())]
    assert await answer({"type": "websocket", "headers": headers}) == [{"type": "passed"}]


@pytest.mark.parametrize("offered", ["", "lanemesh", encoded("other"), SUBPROTOCOL + TOKEN.encode().hex()])
async def test_a_websocket_without_the_token_is_closed_or_denied(offered: str) -> None:
    headers = [(b"sec-websocket-protocol", offered.encode())]
    closed = await answer({"type": "websocket", "headers": headers})
    denied = await answer({"type": "websocket", "headers": headers, "extensions": {"websocket.http.response": {}}})
    assert closed == [{"type": "websocket.close", "code": 1008, "reason": "unauthorized"}]
    assert (denied[0]["type"], denied[0]["status"]) == ("websocket.http.response.start", 401)


async def test_a_request_cannot_send_it_as_a_subprotocol() -> None:
    headers = [(b"sec-websocket-protocol", encoded(TOKEN).encode())]
    sent = await answer({"type": "http", "method": "GET", "headers": headers})
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    ("path", "method", "passes"),
    [
        ("/", "GET", True),
        ("/healthz", "GET", True),
        ("/healthz", "POST", False),
        ("/assets/x", "HEAD", True),
        ("/assets", "GET", False),
        ("/v1/runs", "GET", False),
    ],
)
async def test_only_reads_of_open_paths_need_no_token(path: str, method: str, passes: bool) -> None:
    sent = await answer({"type": "http", "method": method, "path": path, "headers": []})
    assert (sent == [{"type": "passed"}]) is passes
