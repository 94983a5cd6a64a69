"""Listing runs page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from lanemesh.client.wire_text import wire_text
from lanemesh.v1 import run_pb2, update_pb2

PAGE = 500
"""Runs that are asked for at once."""

ListRuns = Callable[[run_pb2.ListRunsRequest], Awaitable[run_pb2.ListRunsResponse]]


async def list_runs(
    call: ListRuns, limit: int, states: Iterable[update_pb2.RunState.ValueType], deployment: str
) -> list[run_pb2.RunRecord]:
    """The latest runs, at most `limit` of them, with as many calls as that takes."""
    found: list[run_pb2.RunRecord] = []
    request = run_pb2.ListRunsRequest(
        states=states, deployment=wire_text(deployment, "the name of a deployed pipeline")
    )
    while len(found) < limit:
        request.page_size = min(PAGE, limit - len(found))
        response = await call(request)
        found.extend(response.runs)
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    return found
