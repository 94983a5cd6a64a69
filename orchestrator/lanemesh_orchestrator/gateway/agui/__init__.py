"""AG-UI 1.0 (https://docs.ag-ui.com), the protocol of agent front ends, with deployed pipelines as agents."""

from __future__ import annotations

from ag_ui.core import RunAgentInput
from starlette.routing import BaseRoute

from lanemesh_orchestrator.gateway.agui.endpoint import run_agent
from lanemesh_orchestrator.gateway.api.endpoint import Answer, Endpoint, routes_of
from lanemesh_orchestrator.gateway.sse import MEDIA_TYPE

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/agui/{deployment}",
        handler=run_agent,
        summary="Run an agent over AG-UI",
        tag="agents",
        description="Runs a deployed pipeline as an agent of AG-UI 1.0, or with `resume` continues a run that waits for an "
        "approval. `forwardedProps.session` is the session that the run is the next turn of.",
        body=RunAgentInput,
        answers={
            200: Answer(description="The events of AG-UI, one per event.", schema=str, media_type=MEDIA_TYPE),
        },
    ),
)
"""The endpoint, for the document of the API."""


def routes() -> list[BaseRoute]:
    """The endpoint."""
    return routes_of(ENDPOINTS)
