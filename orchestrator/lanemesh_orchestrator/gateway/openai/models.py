"""`/v1/models`: the deployed pipelines that are models."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel
from lanemesh_orchestrator.gateway.model_api.models import models_of
from lanemesh_orchestrator.gateway.openai.errors import endpoint


@endpoint
async def list_models(request: Request) -> Response:
    """All models."""
    models = await models_of(request).models()
    return JSONResponse({"object": "list", "data": list(map(_model, models))})


@endpoint
async def show_model(request: Request) -> Response:
    """One model."""
    return JSONResponse(_model(await models_of(request).find(request.path_params["model"])))


def _model(model: DeployedModel) -> dict[str, Any]:
    created = int(model.created_at.timestamp())
    return {"id": model.name, "object": "model", "created": created, "owned_by": "lanemesh"}
