"""What becomes of a body whose request is answered before its end."""

from __future__ import annotations

from collections.abc import Iterator

from lanemesh_orchestrator.http_server.body_guard import LINGER_BYTES, BodyGuard
from starlette.types import Message, Receive, Scope, Send

MEBIBYTE = 1024 * 1024
SCOPE = {"type": "http", "headers": [(b"content-length", b"1000000000")]}


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after the first part of the body."""
    await receive()
    await send({"type": "http.response.start", "status": 413, "headers": []})
    await send({"type": "http.response.body", "body": b"too large"})


async def answered(parts: int) -> tuple[list[Message], int]:
    """The messages to a client that sends so many parts of 1 MiB, and how many were read."""
    sent: list[Message] = []
    left: Iterator[int] = iter(range(parts - 1, -1, -1))
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": bytes(MEBIBYTE), "more_body": next(left) > 0}

    async def send(message: Message) -> None:
        sent.append(message)

    await BodyGuard(refuse)(SCOPE, receive, send)
    return sent, taken


async def test_the_rest_of_a_body_is_read_between_the_response_and_the_end_of_the_connection() -> None:
    sent, taken = await answered(5)
    assert taken == 5
    assert sent[0]["headers"] == [(b"connection", b"close")]
    assert [(message["body"], message["more_body"]) for message in sent[1:]] == [(b"too large", True), (b"", False)]


async def test_no_more_of_a_body_is_read_than_a_limit() -> None:
    _, taken = await answered(1_000)
    assert taken == 1 + LINGER_BYTES // MEBIBYTE


async def test_a_body_that_has_ended_keeps_its_connection() -> None:
    sent, taken = await answered(1)
    assert (taken, sent[0]["headers"], len(sent)) == (1, [], 2)
