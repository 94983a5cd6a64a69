"""The updates of a run as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

The `id:` of an event is the sequence of its update, so that `Last-Event-ID` resumes without loss or double.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from lanemesh.client.runs import wire_updates
from lanemesh.faults import LanemeshError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.problems import bad_request
from lanemesh_orchestrator.update_json import fault_json, to_json

KEEP_ALIVE_SECONDS = 15.0
"""Pause after which a comment keeps proxies from closing a silent stream."""

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Keeps proxies from storing or delaying events."""


def event_stream(request: Request, run_id: str) -> Response:
    """The updates of a run after `?after=N` or `Last-Event-ID`, to the terminal one. A client that disconnects leaves the run."""
    text = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    if not (text.isdecimal() and len(text) < 19):
        raise bad_request(f'"after" and Last-Event-ID are the number of an update, not {text[:40]!r}')
    return StreamingResponse(_events(request, run_id, int(text) + 1), 200, HEADERS, "text/event-stream")


async def _events(request: Request, run_id: str, from_sequence: int) -> AsyncGenerator[str, None]:
    run = gateway_of(request).mesh.attach(run_id, from_sequence)
    try:
        async with aclosing(wire_updates(run)) as updates:
            async for update in updates:
                yield f"id: {update.sequence}\ndata: {json.dumps(to_json(update), ensure_ascii=False)}\n\n"
    except LanemeshError as error:
        yield f"event: error\ndata: {json.dumps(fault_json(error.fault), ensure_ascii=False)}\n\n"
