"""`/v1/models`: the deployed pipelines that are models. Clients of Anthropic, which have the same path, get them in their form."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lanemesh_orchestrator.gateway.anthropic.models import VERSION_HEADER, model_body, model_page
from lanemesh_orchestrator.gateway.json_response import Json
from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel
from lanemesh_orchestrator.gateway.model_api.models import models_of
from lanemesh_orchestrator.gateway.openai.errors import endpoint


@endpoint
async def list_models(request: Request) -> Response:
    """All models."""
    models = await models_of(request).models()
    if VERSION_HEADER in request.headers:
        return Json(model_page(models))
    return Json({"object": "list", "data": list(map(_model, models))})


@endpoint
async def show_model(request: Request) -> Response:
    """One model."""
    model = await models_of(request).find(request.path_params["model"])
    return Json(model_body(model) if VERSION_HEADER in request.headers else _model(model))


def _model(model: DeployedModel) -> dict[str, Any]:
    created = int(model.created_at.timestamp())
    return {"id": model.name, "object": "model", "created": created, "owned_by": "lanemesh"}
