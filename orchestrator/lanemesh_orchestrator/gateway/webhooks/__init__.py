"""Webhooks: a request with a body of any type runs a deployed pipeline, and is answered with what its targets deliver."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.webhooks.endpoint import receive


def routes() -> list[BaseRoute]:
    """The endpoint."""
    return [Route("/hooks/{deployment}", receive, methods=["POST"])]
