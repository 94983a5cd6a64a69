"""The updates of a run as server-sent events.

The `id:` of an event is the sequence of its update, so that `Last-Event-ID` resumes without loss or duplicates.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from lanemesh.client.run_reader import RunReader, wire_batches
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.event_chunks import chunk_of
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.gateway.sse import EventStream, event

MAX_DIGITS = 18
"""Most digits of the number of an update."""


async def event_stream(request: Request, run_id: str) -> Response:
    """The updates of a run after `?after=N` or `Last-Event-ID`, to the terminal one. A client that disconnects leaves the run.

    Returns:
        A stream of events; an empty response with the status 204 if the run has ended and no update follows, so that a browser's
        `EventSource` does not connect again.

    Raises:
        LanemeshError: the run is unknown, or the number is none.
    """
    after = _after(request)
    mesh = gateway_of(request).mesh
    record = await mesh.record(run_id)
    if record.state.is_terminal and after >= record.last_sequence:
        return Response(status_code=204)
    return EventStream(run_chunks(mesh.attach(run_id, after + 1)))


async def run_chunks(run: RunReader) -> AsyncGenerator[bytes, None]:
    """The updates of a run as events, one chunk per batch. Updates that are no longer kept are an event `gap` with their numbers.

    The updates of a chunk count as taken when the next one is requested.
    """
    try:
        async with aclosing(wire_batches(run)) as batches:
            async for batch in batches:
                if isinstance(batch, run_pb2.Gap):
                    first, last = batch.from_sequence, batch.to_sequence
                    yield event({"from": first, "to": last}, name="gap", id=last)
                else:
                    yield chunk_of(batch)
                del batch  # a silent run does not hold it
    except LanemeshError as error:
        if error.fault.reason != "nothing-left":  # the next request is answered with 204
            raise


def _after(request: Request) -> int:
    """The number of the last update that the client has."""
    header = request.headers.get("last-event-id", "")
    text = header or request.query_params.get("after") or "0"
    if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        return int(text)
    where = "Last-Event-ID" if header else "?after"
    raise invalid(where, "it is the number of an update, such as 12")
