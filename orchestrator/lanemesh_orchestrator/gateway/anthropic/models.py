"""The models of a mesh in the form of Anthropic's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel

VERSION_HEADER = "anthropic-version"
"""The header by which requests to a path of both APIs are those of Anthropic's clients."""


def model_page(models: Sequence[DeployedModel]) -> dict[str, Any]:
    """All models, as one page."""
    data = list(map(model_body, models))
    ids = [model["id"] for model in data]
    return {"data": data, "has_more": False, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}


def model_body(model: DeployedModel) -> dict[str, Any]:
    """One model."""
    created = model.created_at.isoformat().replace("+00:00", "Z")
    return {"type": "model", "id": model.name, "display_name": model.name, "created_at": created, "lifecycle": "active"}
