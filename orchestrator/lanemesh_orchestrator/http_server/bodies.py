"""Reads the bodies of requests, bounded in size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lanemesh._aio.eager import EagerCoroutine
from lanemesh.faults import Code, Fault, LanemeshError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message


async def body_pieces(request: Request, max_bytes: int, seconds: float) -> AsyncIterator[bytes]:
    """The body of a request, piece by piece.

    Raises:
        LanemeshError: it is larger than `max_bytes` ("body-too-large"), or nothing arrives for `seconds` ("body-timeout").
        ClientDisconnect: the client is gone.
    """
    _check_declared(request, max_bytes)
    received, has_more = 0, True
    while has_more:
        piece, has_more = await _next_piece(request, max_bytes - received, seconds)
        received += len(piece)
        if piece:
            yield piece


def _check_declared(request: Request, max_bytes: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes:
        raise too_large(max_bytes)


async def _next_piece(request: Request, max_bytes: int, seconds: float) -> tuple[bytes, bool]:
    """A piece of the body, and whether others follow. Raises as `body_pieces`."""
    message: Message = {}

    async def receive() -> None:
        nonlocal message
        message = await request.receive()

    receiving = EagerCoroutine(receive())  # most bodies have arrived with their head, and need no time limit
    if not receiving.succeeded:
        try:
            async with asyncio.timeout(seconds):
                await receiving
        except TimeoutError:
            text = f"nothing of the body arrived for {seconds:g} s. Send it without pauses"
            fault = Fault(code=Code.DEADLINE_EXCEEDED, reason="body-timeout", message=text)
            raise LanemeshError(fault) from None
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    piece: bytes = message.get("body", b"")
    if len(piece) > max_bytes:
        raise too_large(max_bytes)
    return piece, message.get("more_body", False)


async def read_whole(request: Request, max_bytes: int, seconds: float) -> bytes:
    """The whole body. Raises as `body_pieces`, and LanemeshError ("body-timeout") if what follows its first piece takes longer
    than ten times `seconds`."""
    _check_declared(request, max_bytes)
    first, has_more = await _next_piece(request, max_bytes, seconds)
    if not has_more:
        return first
    body = bytearray(first)
    try:
        async with asyncio.timeout(10 * seconds):
            while has_more:
                piece, has_more = await _next_piece(request, max_bytes - len(body), seconds)
                body += piece
    except TimeoutError:
        raise too_slow(10 * seconds) from None
    return bytes(body)


def too_slow(seconds: float) -> LanemeshError:
    """The error of a body that takes longer than its limit."""
    message = f"the body took longer than {seconds:g} s. Send it faster, or in several requests"
    return LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="body-timeout", message=message))


def too_large(max_bytes: int) -> LanemeshError:
    """The error of a body that is larger than its limit."""
    message = f"the body is larger than {max_bytes:,} bytes. Send less, or several requests"
    return LanemeshError(Fault(code=Code.OUT_OF_RANGE, reason="body-too-large", message=message))
