"""Server-sent events of a dialect, and the release of what they were made from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Keeps proxies from storing or delaying events."""
KEEP_ALIVE = ": keep-alive\n\n"
"""A comment, which clients ignore."""


class EventStream(StreamingResponse):
    """A stream of server-sent events. At its end, or when the client disconnects, it releases its source."""

    def __init__(self, frames: AsyncIterator[str], release: Callable[[], Awaitable[None]]) -> None:
        """`release` is awaited once the response has ended in any way."""
        super().__init__(frames, 200, HEADERS, "text/event-stream")
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._release()


def data_frame(value: Mapping[str, Any]) -> str:
    """An event without a name."""
    return f"data: {to_text(value)}\n\n"


def named_frame(name: str, value: Mapping[str, Any]) -> str:
    """An event with a name."""
    return f"event: {name}\ndata: {to_text(value)}\n\n"


def to_text(value: Any) -> str:
    """Compact JSON, on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
