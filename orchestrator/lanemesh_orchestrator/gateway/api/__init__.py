"""The HTTP API: runs, deployed pipelines, sessions, node types, node servers, channels."""

from __future__ import annotations

from starlette.routing import BaseRoute

from lanemesh_orchestrator.gateway.api import catalog, channels, deployments, runs, sessions
from lanemesh_orchestrator.gateway.api.endpoint import Endpoint, routes_of
from lanemesh_orchestrator.gateway.api.pages import page_routes

ENDPOINTS: tuple[Endpoint, ...] = (
    *runs.ENDPOINTS,
    *deployments.ENDPOINTS,
    *sessions.ENDPOINTS,
    *catalog.ENDPOINTS,
    *channels.ENDPOINTS,
)
"""Every endpoint of the API."""


def routes() -> list[BaseRoute]:
    """The routes of the API, and of its document."""
    return [*routes_of(ENDPOINTS), *page_routes(ENDPOINTS)]
