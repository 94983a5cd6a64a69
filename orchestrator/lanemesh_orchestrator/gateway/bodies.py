"""Reads the bodies of requests: bounded in size and time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from starlette.requests import ClientDisconnect, Request

from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.problems import bad_request


async def body_pieces(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body of a request, piece by piece.

    Raises:
        LanemeshError: it is larger than `max_bytes` ("body-too-large"), or nothing arrives for the time of the options
            ("body-timeout").
        ClientDisconnect: the client is gone.
    """
    seconds = gateway_of(request).options.body_seconds
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    received = 0
    pieces = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(seconds):
                piece = await anext(pieces, None)
        except TimeoutError:
            message = f"nothing of the body arrived for {seconds:g} s. Send it without pauses"
            raise LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="body-timeout", message=message)) from None
        if piece is None:
            return
        received += len(piece)
        if received > max_bytes:
            raise _too_large(max_bytes)
        if piece:
            yield piece


async def read_body(request: Request, max_bytes: int = 0) -> bytes:
    """The whole body. `max_bytes`: 0: that of the options. Raises as `body_pieces`."""
    limit = max_bytes or gateway_of(request).options.max_body
    return b"".join([piece async for piece in body_pieces(request, limit)])


async def read_json(request: Request, max_bytes: int = 0) -> Any:
    """The body as a JSON value. Raises LanemeshError ("not-json"), and as `body_pieces`."""
    body = await read_body(request, max_bytes)
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}", reason="not-json") from None


async def read_object(request: Request, max_bytes: int = 0) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object. Raises as `read_json`."""
    body = await read_body(request, max_bytes)
    if not body.strip():
        return {}
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}", reason="not-json") from None
    if not isinstance(value, dict):
        raise bad_request(f"the body is a JSON object, not {type(value).__name__}", reason="wrong-type")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _too_large(max_bytes: int) -> LanemeshError:
    message = f"the body is larger than {max_bytes:,} bytes. Send less, or upload to a webhook"
    return LanemeshError(Fault(code=Code.OUT_OF_RANGE, reason="body-too-large", message=message))


__all__ = ["ClientDisconnect", "body_pieces", "read_body", "read_json", "read_object"]
