"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): their form, and their response.

A response writes one chunk for all events that are there, and reads its source again when the client has taken the chunk. So a
client that stops reading holds the source, and nothing grows meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from lanemesh.faults import LanemeshError
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lanemesh_orchestrator.gateway.json_response import json_bytes
from lanemesh_orchestrator.update_json import fault_json

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
"""Pause after which a comment keeps proxies from closing a silent stream."""
KEEP_ALIVE = b": keep-alive\n\n"

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no", "content-type": f"{MEDIA_TYPE}; charset=utf-8"}
"""Keeps proxies from storing or delaying events."""


def event(data: Any, *, name: str = "", id: int | None = None) -> bytes:  # noqa: A002
    """One event.

    Args:
        data: a JSON value.
        name: the type of the event; empty: "message".
        id: what a client sends as `Last-Event-ID` to resume after it; None: it has no id.
    """
    head = (f"event: {name}\n" if name else "") + (f"id: {id}\n" if id is not None else "")
    return b"%sdata: %s\n\n" % (head.encode(), json_bytes(data))


class EventStream(Response):
    """A response whose chunks come from a generator.

    It ends with the generator, or when the gateway ends its streams. Then, and when the client disconnects, the generator is closed
    at once, also while it waits. An error of the
    mesh becomes an event `error` with the fault, and ends the stream.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """A stream of events.

        Args:
            chunks: each holds one or more whole events.
            headers: further headers of the response.
            close: frees what the chunks are made of. It is called in any case, also if no chunk was read.
        """
        self.status_code = 200
        self.background = None
        self._close = close
        self._chunks = chunks
        self.init_headers({**HEADERS, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events until their end, or until the client is gone."""
        gone = asyncio.create_task(_disconnect(receive), name="event stream")
        open_streams: set[asyncio.Task[None]] = scope["app"].state.gateway.streams
        open_streams.add(gone)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            is_head = scope["method"] == "HEAD"
            await send({"type": "http.response.body", "body": b": lanemesh\n\n", "more_body": not is_head})
            if not is_head:
                await self._send_all(send, gone)
        except (OSError, ClientDisconnect):
            pass
        finally:
            open_streams.discard(gone)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await self._chunks.aclose()
            if self._close is not None:
                await self._close()

    async def _send_all(self, send: Send, gone: asyncio.Task[None]) -> None:
        while (chunk := await self._next(send, gone)) is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            del chunk  # a silent stream does not hold it
        if not gone.done() or gone.cancelled():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, send: Send, gone: asyncio.Task[None]) -> bytes | None:
        """The next chunk; None at the end. Sends comments while it waits."""
        following = asyncio.ensure_future(anext(self._chunks, None))
        try:
            while True:
                await asyncio.wait({following, gone}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return None
                if following.done():
                    return following.result()
                await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
        except LanemeshError as error:  # the chunks end with it
            return event(fault_json(error.fault), name="error")
        finally:
            if not following.done():
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
