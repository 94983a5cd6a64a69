"""The list of models, while the node types of a mesh join it."""

from __future__ import annotations

import pytest
from lanemesh.client.records import RunRecord
from lanemesh.client.updates import RunState
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator.gateway.model_api import models
from lanemesh_orchestrator.gateway.model_api.models import ModelCatalog

from rigs.joining_types import CREATED_AT, DOCUMENT, JoiningMesh


@pytest.fixture(autouse=True)
def _no_list_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRESH_SECONDS", 0.0)


async def test_a_model_has_its_settings_and_tools_once_its_node_type_has_joined() -> None:
    mesh = JoiningMesh("llm_text")
    catalog = ModelCatalog(mesh.host)
    (before,) = await catalog.models()
    assert (before.can_set("temperature"), before.takes_tools) == (False, False)

    mesh.join()

    (after,) = await catalog.models()
    assert (after.can_set("temperature"), after.takes_tools) == (True, True)


async def test_a_pipeline_is_a_model_once_its_target_has_joined() -> None:
    mesh = JoiningMesh("response")
    catalog = ModelCatalog(mesh.host)
    with pytest.raises(LanemeshError, match="is no model"):
        await catalog.find("chat")

    mesh.join()

    assert (await catalog.find("chat")).target == "out"


async def test_a_run_is_read_as_a_model_once_its_node_types_have_joined() -> None:
    mesh = JoiningMesh("llm_text")
    catalog = ModelCatalog(mesh.host)
    await catalog.models()

    mesh.join()

    record = RunRecord(
        run_id="run-1",
        state=RunState.RUNNING,
        created_at=CREATED_AT,
        deployment="chat",
        deployment_version=1,
        pipeline_json=DOCUMENT,
    )
    assert (await catalog.of_run(record)).takes_tools


async def test_the_document_of_a_version_is_read_once_when_its_node_types_are_known() -> None:
    mesh = JoiningMesh()
    catalog = ModelCatalog(mesh.host)

    lists = [await catalog.models() for _ in range(3)]

    assert (mesh.read, [len(one) for one in lists]) == (1, [1, 1, 1])
