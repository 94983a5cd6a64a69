"""Runs: start, list, get, feed, cancel and decide; their updates as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lanemesh.client.detached import DetachedRun
from lanemesh.client.runs import Run
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2
from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.api.bodies import (
    CancelRun,
    DecideApproval,
    FeedRun,
    ListRuns,
    StartRun,
    WatchRun,
)
from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint
from lanemesh_orchestrator.gateway.api.responses import Ok, RunDetails, RunList, Started, Taken
from lanemesh_orchestrator.gateway.api.values import inputs_of
from lanemesh_orchestrator.gateway.bodies import read_model, read_query
from lanemesh_orchestrator.gateway.connected import while_connected
from lanemesh_orchestrator.gateway.gateway import check_documents, conversation_of, gateway_of
from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.off_loop import for_body
from lanemesh_orchestrator.gateway.run_events import event_stream, run_chunks
from lanemesh_orchestrator.gateway.sse import MEDIA_TYPE, EventStream
from lanemesh_orchestrator.record_json import record_approval_json, record_json, record_placement_json


async def start_run(request: Request) -> Response:
    """Starts a run: a detached one, or one that its caller owns."""
    body = await read_model(request, StartRun)
    check_documents(request, body.pipeline, body.settings)
    given = await for_body(request, inputs_of, body.input, body.inputs, ("input", "inputs"))
    options: dict[str, Any] = {
        "inputs": given or None,
        "open_input": body.open_input,
        "settings": body.settings,
        "timeout": body.timeout,
        "trace": body.trace,
        "variables": body.variables,
        "source": body.source,
        "session": conversation_of(request, body.session) or "",
    }
    mesh = gateway_of(request).mesh
    if body.detached:
        started = await mesh.start(body.pipeline, **options)
        return Json({"run_id": started.id}, 201, {"Location": f"/v1/runs/{started.id}"})
    if not accepts_events(request):
        raise invalid("/detached", "false needs the header Accept: text/event-stream: the response is the run's events")
    if body.open_input:
        raise invalid("/open_input", "only a detached run can be fed by further requests")
    return await owned_run(mesh.run(body.pipeline, **options))


async def owned_run(run: Run) -> Response:
    """Starts a run; the response is the stream of its events. A client that disconnects cancels it, and a slow one holds it.

    Raises:
        LanemeshError: the run cannot be started.
    """
    await run.start()
    return EventStream(run_chunks(run), headers={"location": f"/v1/runs/{run.id}"}, starts=True, close=run.close)


async def list_runs(request: Request) -> Response:
    """A page of the runs, the latest first."""
    query = read_query(request, ListRuns)
    page = await gateway_of(request).mesh.run_page(
        limit=query.limit, states=query.state, deployment=query.deployment, page=query.page
    )
    answer: dict[str, Any] = {"runs": [record_json(record) for record in page.runs]}
    return Json(answer | ({"next_page": page.next_page} if page.next_page else {}))


async def get_run(request: Request) -> Response:
    """The record of a run, with its pipeline."""
    record = await gateway_of(request).mesh.record(request.path_params["run_id"])
    flat = record_json(record) | {
        "trace": record.trace,
        "placements": [record_placement_json(placement) for placement in record.placements],
        "approvals": [record_approval_json(approval) for approval in record.approvals],
        "pipeline": json.loads(record.pipeline_json) if record.pipeline_json else None,
    }
    return Json(flat)


async def feed_run(request: Request) -> Response:
    """Feeds the source of a run, or ends its input. Returns when the run has taken the values."""
    body = await read_model(request, FeedRun)
    given = await for_body(request, inputs_of, body.value, body.values, ("value", "values"), body.port)
    if not given and not body.end:
        raise invalid("", 'give "value", "values" or "end"', "missing-field")
    run = gateway_of(request).mesh.attach(request.path_params["run_id"])
    await while_connected(request, _feed(run, given, end=body.end))
    return Json({"taken": len(given)})


async def _feed(run: DetachedRun, given: Sequence[run_pb2.RunInput], *, end: bool) -> None:
    for taken, one in enumerate(given):
        try:
            await run.push(one)
        except LanemeshError as error:
            if not taken:
                raise
            message = f"/values/{taken}: {error.fault.message}. The {taken} values before it were taken"
            raise LanemeshError(replace(error.fault, message=message)) from None
    if end:
        await run.end_input()


async def cancel_run(request: Request) -> Response:
    """Cancels a run."""
    body = await read_model(request, CancelRun)
    await gateway_of(request).mesh.attach(request.path_params["run_id"]).cancel(body.reason)
    return Json({})


async def decide_approval(request: Request) -> Response:
    """Approves or refuses a call for which a component waits."""
    body = await read_model(request, DecideApproval)
    mesh, run_id, call_id = gateway_of(request).mesh, request.path_params["run_id"], request.path_params["call_id"]
    if body.approved:
        await mesh.approve(run_id, call_id, component=body.component)
    else:
        await mesh.refuse(run_id, call_id, body.reason, component=body.component)
    return Json({})


async def run_events(request: Request) -> Response:
    """The updates of a run as server-sent events."""
    read_query(request, WatchRun)
    return await event_stream(request, request.path_params["run_id"])


def accepts_events(request: Request) -> bool:
    """Whether the client wants server-sent events."""
    return MEDIA_TYPE in request.headers.get("accept", "")


_EVENTS = Answer(
    description="One event per update: `id` is its sequence, `data` the update as JSON. `event: gap` has the numbers of updates "
    "that are no longer kept, `event: error` a fault. The stream ends after the terminal update.",
    schema=str,
    media_type=MEDIA_TYPE,
)

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/runs",
        handler=start_run,
        summary="Start a run",
        tag="runs",
        description="A value is a string (text), an entry with lane and value, or other JSON (data).",
        body=StartRun,
        headers={
            "Accept": "text/event-stream with `detached: false`.",
            "Lanemesh-Session": "The session that the run is the next turn of.",
        },
        answers={201: Answer(description="The run was started.", schema=Started), 200: _EVENTS},
    ),
    Endpoint(
        method="GET",
        path="/v1/runs",
        handler=list_runs,
        summary="List runs",
        tag="runs",
        query=ListRuns,
        answers={200: Answer(description="The runs, the latest first.", schema=RunList)},
    ),
    Endpoint(
        method="GET",
        path="/v1/runs/{run_id}",
        handler=get_run,
        summary="Get a run",
        tag="runs",
        answers={200: Answer(description="The run.", schema=RunDetails)},
    ),
    Endpoint(
        method="POST",
        path="/v1/runs/{run_id}/input",
        handler=feed_run,
        summary="Feed a run",
        tag="runs",
        description="For a detached run with `open_input`. Returns when the run has taken the values.",
        body=FeedRun,
        answers={200: Answer(description="The run has taken the values.", schema=Taken)},
    ),
    Endpoint(
        method="POST",
        path="/v1/runs/{run_id}/cancel",
        handler=cancel_run,
        summary="Cancel a run",
        tag="runs",
        description="Its last updates follow on its streams. No effect on a run that has ended.",
        body=CancelRun,
        answers={200: Answer(description="The run is cancelled, or has ended.", schema=Ok)},
    ),
    Endpoint(
        method="POST",
        path="/v1/runs/{run_id}/approvals/{call_id}",
        handler=decide_approval,
        summary="Decide an approval",
        tag="runs",
        body=DecideApproval,
        answers={200: Answer(description="The component continues.", schema=Ok)},
    ),
    Endpoint(
        method="GET",
        path="/v1/runs/{run_id}/events",
        handler=run_events,
        summary="Watch a run",
        tag="runs",
        query=WatchRun,
        headers={"Last-Event-ID": "Number of the last update that the client has, as a browser sends it."},
        answers={200: _EVENTS, 204: Answer(description="The run has ended, and no update follows.")},
    ),
)
