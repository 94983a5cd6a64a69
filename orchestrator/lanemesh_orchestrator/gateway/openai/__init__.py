"""The API of OpenAI, with deployed pipelines as models (https://platform.openai.com/docs/api-reference)."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.openai import completions, models


def routes() -> list[BaseRoute]:
    """The endpoints."""
    return [
        Route("/v1/models", models.list_models, methods=["GET"]),
        Route("/v1/models/{model}", models.show_model, methods=["GET"]),
        Route("/v1/chat/completions", completions.create, methods=["POST"]),
    ]
