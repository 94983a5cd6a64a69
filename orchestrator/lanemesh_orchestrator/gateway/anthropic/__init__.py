"""The Messages API of Anthropic, with deployed pipelines as models (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.anthropic import messages


def routes() -> list[BaseRoute]:
    """The endpoints."""
    return [Route("/v1/messages", messages.create, methods=["POST"])]
