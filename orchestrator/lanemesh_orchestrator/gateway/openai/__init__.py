"""The API of OpenAI, with deployed pipelines as models (https://platform.openai.com/docs/api-reference)."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.openai import completions, embeddings, models, responses


def routes() -> list[BaseRoute]:
    """The endpoints."""
    return [
        Route("/v1/models", models.list_models, methods=["GET"]),
        Route("/v1/models/{model}", models.show_model, methods=["GET"]),
        Route("/v1/chat/completions", completions.create, methods=["POST"]),
        Route("/v1/embeddings", embeddings.create, methods=["POST"]),
        Route("/v1/responses", responses.create, methods=["POST"]),
        Route("/v1/responses/{response_id}", responses.retrieve, methods=["GET"]),
        Route("/v1/responses/{response_id}/cancel", responses.cancel, methods=["POST"]),
    ]
