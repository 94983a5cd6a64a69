"""The list of models, while the node types of a mesh join it."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from lanemesh.client.deployment_info import DeploymentInfo, DeploymentState
from lanemesh.client.node_types import NodeTypeInfo
from lanemesh.client.records import RunRecord
from lanemesh.client.run_host import RunHost
from lanemesh.client.updates import RunState
from lanemesh.faults import LanemeshError
from lanemesh.node.names import of_names
from lanemesh_orchestrator.gateway.model_api import models
from lanemesh_orchestrator.gateway.model_api.models import ModelCatalog

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS: dict[str, Any] = {"properties": {"temperature": {}, "max_tokens": {}}}
TYPES = (
    NodeTypeInfo(provider="chat", boundary="source"),
    NodeTypeInfo(provider="llm_text", aliases=("llm_any",), offers=("llm",), config_schema=SETTINGS),
    NodeTypeInfo(provider="response", boundary="target"),
)
DOCUMENT = {
    "components": [
        {"id": "in", "provider": "chat"},
        {"id": "model", "provider": "llm_any", "input": [{"lane": "questions", "from": "in"}]},
        {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "model"}]},
    ]
}


class JoiningMesh:
    """A mesh with one deployed pipeline, without some node types at first."""

    def __init__(self, *missing: str) -> None:
        self.types = {one.provider: one for one in TYPES if one.provider not in missing}
        self.read = 0
        """How often the document was read."""

    async def deployments(self) -> list[DeploymentInfo]:
        return [DeploymentInfo(name="chat", version=1, state=DeploymentState.READY, created_at=NOW)]

    async def deployment(self, name: str) -> DeploymentInfo:
        self.read += 1
        document = json.dumps(DOCUMENT)
        return DeploymentInfo(name=name, version=1, state=DeploymentState.READY, created_at=NOW, pipeline_json=document)

    async def node_types(self, names: Collection[str]) -> list[NodeTypeInfo]:
        return of_names(names, self.types)

    def join(self) -> None:
        """All node types are there."""
        self.types = {one.provider: one for one in TYPES}


@pytest.fixture(autouse=True)
def _no_list_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRESH_SECONDS", 0.0)


def catalog_of(mesh: JoiningMesh) -> ModelCatalog:
    return ModelCatalog(cast("RunHost", mesh))


async def test_a_model_has_its_settings_and_tools_once_its_node_type_has_joined() -> None:
    mesh = JoiningMesh("llm_text")
    catalog = catalog_of(mesh)
    (before,) = await catalog.models()
    assert (before.can_set("temperature"), before.takes_tools) == (False, False)

    mesh.join()

    (after,) = await catalog.models()
    assert (after.can_set("temperature"), after.takes_tools) == (True, True)


async def test_a_pipeline_is_a_model_once_its_target_has_joined() -> None:
    mesh = JoiningMesh("response")
    catalog = catalog_of(mesh)
    with pytest.raises(LanemeshError, match="is no model"):
        await catalog.find("chat")

    mesh.join()

    assert (await catalog.find("chat")).target == "out"


async def test_a_run_is_read_as_a_model_once_its_node_types_have_joined() -> None:
    mesh = JoiningMesh("llm_text")
    catalog = catalog_of(mesh)
    await catalog.models()

    mesh.join()

    record = RunRecord(
        run_id="run-1",
        state=RunState.RUNNING,
        created_at=NOW,
        deployment="chat",
        deployment_version=1,
        pipeline_json=json.dumps(DOCUMENT),
    )
    assert (await catalog.of_run(record)).takes_tools


async def test_the_document_of_a_version_is_read_once_when_its_node_types_are_known() -> None:
    mesh = JoiningMesh()
    catalog = catalog_of(mesh)

    lists = [await catalog.models() for _ in range(3)]

    assert (mesh.read, [len(one) for one in lists]) == (1, [1, 1, 1])
