"""Runs: start, list, get, feed, cancel and decide; their updates as server-sent events."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.bodies import read_object
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.problems import bad_request
from lanemesh_orchestrator.gateway.run_events import event_stream


def routes() -> list[BaseRoute]:
    """The endpoints."""
    return [
        Route("/v1/runs", start_run, methods=["POST"]),
        Route("/v1/runs/{run_id}/events", run_events, methods=["GET"]),
    ]


async def start_run(request: Request) -> Response:
    """Starts a detached run."""
    body = await read_object(request)
    pipeline = body.get("pipeline")
    if not isinstance(pipeline, (dict, str)):
        raise bad_request('"pipeline" is missing. Give a document, or the name of a deployed pipeline as "@NAME"')
    run = await gateway_of(request).mesh.start(pipeline, input=body.get("input"))
    return JSONResponse({"run_id": run.id}, 201, {"Location": f"/v1/runs/{run.id}"})


async def run_events(request: Request) -> Response:
    """The updates of a run as server-sent events."""
    return event_stream(request, request.path_params["run_id"])
