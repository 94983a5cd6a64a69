"""The HTTP API: runs, deployed pipelines, sessions, node types, node servers, channels."""

from __future__ import annotations

from starlette.routing import BaseRoute

from lanemesh_orchestrator.gateway.api import catalog, channels, deployments, runs, sessions
from lanemesh_orchestrator.gateway.api.endpoint import Endpoint, routes_of

ENDPOINTS: tuple[Endpoint, ...] = (
    *runs.ENDPOINTS,
    *deployments.ENDPOINTS,
    *sessions.ENDPOINTS,
    *catalog.ENDPOINTS,
    *channels.ENDPOINTS,
)
"""Every endpoint of the API."""


def routes() -> list[BaseRoute]:
    """The routes of the API."""
    return routes_of(ENDPOINTS)
