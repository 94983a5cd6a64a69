"""AG-UI 1.0 (https://docs.ag-ui.com), the protocol of agent front ends, with deployed pipelines as agents."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.agui.endpoint import run_agent


def routes() -> list[BaseRoute]:
    """The endpoint."""
    return [Route("/v1/agui/{deployment}", run_agent, methods=["POST"])]
