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
from lanemesh_orchestrator.gateway.open_streams import OpenStreams
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

    It ends with the generator, or a moment after the gateway has begun to end its streams. Then, and when the client disconnects,
    the generator is closed at once, also while it waits. An error of the mesh becomes an event `error` with the fault, and ends the
    stream.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str] | None = None,
        starts: bool = False,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """A stream of events.

        Args:
            chunks: each holds one or more whole events.
            headers: further headers of the response.
            starts: the first chunk is there already. Otherwise a comment precedes it, because some clients and proxies wait for the
                first byte of a body.
            close: frees what the chunks are made of. It is called in any case, also if no chunk was read.
        """
        self.status_code = 200
        self.background = None
        self._close = close
        self._chunks = chunks
        self._starts = starts
        self._sends = True
        """Whether a chunk is being sent. Otherwise the stream waits for the next one."""
        self._open: asyncio.Timeout | None = None
        """Ends the stream when it expires; None if the stream is not open."""
        self._client_gone = False
        self.init_headers({**HEADERS, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events until their end, or until the client is gone."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            is_head = scope["method"] == "HEAD"
            if is_head or not self._starts:
                await send({"type": "http.response.body", "body": b": lanemesh\n\n", "more_body": not is_head})
            if not is_head:
                await self._send_all(receive, send, scope["app"].state.gateway.streams)
        except (OSError, ClientDisconnect):
            pass
        finally:
            await self._chunks.aclose()
            if self._close is not None:
                await self._close()

    def end(self, within: float = 0.0) -> None:
        """Ends the stream, so that its client continues elsewhere, after this time in seconds if it has not ended by itself."""
        if self._open is not None and not self._open.expired():
            self._open.reschedule(asyncio.get_running_loop().time() + within)

    async def _send_all(self, receive: Receive, send: Send, streams: OpenStreams) -> None:
        # an idle stream has two tasks: that of its request, and this one
        watching = asyncio.create_task(self._watch(receive, send), name="event stream")
        try:
            async with asyncio.timeout(None) as is_open:
                self._open = is_open
                streams.add(self)
                await self._send_chunks(send)
        except TimeoutError:
            if not is_open.expired():
                raise
        finally:
            self._open = None
            streams.remove(self)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if not self._client_gone:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunks(self, send: Send) -> None:
        try:
            self._sends = False
            async for chunk in self._chunks:
                self._sends = True
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._sends = False
                del chunk  # a silent stream does not hold it
        except LanemeshError as error:
            last = event(fault_json(error.fault), name="error")
            await send({"type": "http.response.body", "body": last, "more_body": True})

    async def _watch(self, receive: Receive, send: Send) -> None:
        """Ends the stream when the client is gone. Sends comments while the stream waits."""
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        if (await receive())["type"] == "http.disconnect":
                            self._client_gone = True
                            return
                except TimeoutError:
                    if not self._sends:
                        await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
        except (OSError, ClientDisconnect):
            pass
        finally:
            self.end()
