"""The list of models, while the node types of a mesh join it."""

from __future__ import annotations

import pytest
from lanemesh.client.records import RunRecord
from lanemesh.client.updates import RunState
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator.gateway.model_api import models
from lanemesh_orchestrator.gateway.model_api.models import ModelCatalogs

from rigs.joining_types import CREATED_AT, DOCUMENT, JoiningMesh


@pytest.fixture(autouse=True)
def _no_list_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRESH_SECONDS", 0.0)


async def test_a_model_has_its_settings_and_tools_once_its_node_type_has_joined() -> None:
    mesh = JoiningMesh("llm_text")
    catalog = ModelCatalogs(mesh.host).of("")
    (before,) = await catalog.models()
    assert (before.can_set("temperature"), before.takes_tools) == (False, False)

    mesh.join()

    (after,) = await catalog.models()
    assert (after.can_set("temperature"), after.takes_tools) == (True, True)


async def test_a_pipeline_is_a_model_once_its_target_has_joined() -> None:
    mesh = JoiningMesh("response")
    catalog = ModelCatalogs(mesh.host).of("")
    with pytest.raises(LanemeshError, match="is no model"):
        await catalog.find("chat")

    mesh.join()

    assert (await catalog.find("chat")).target == "out"


async def test_a_run_is_read_as_a_model_once_its_node_types_have_joined() -> None:
    mesh = JoiningMesh("llm_text")
    catalog = ModelCatalogs(mesh.host).of("")
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
    catalog = ModelCatalogs(mesh.host).of("")

    lists = [await catalog.models() for _ in range(3)]

    assert (mesh.read, [len(one) for one in lists]) == (1, [1, 1, 1])


async def test_each_caller_asks_for_the_list_and_all_share_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRESH_SECONDS", 1e9)
    mesh = JoiningMesh()
    catalogs = ModelCatalogs(mesh.host)

    for token in ("first", "second", "first"):
        assert [model.name for model in await catalogs.of(token).models()] == ["chat"]

    assert (mesh.listed, mesh.read) == (2, 1)


def test_the_lists_of_a_bounded_number_of_callers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MAX_CALLERS", 2)
    catalogs = ModelCatalogs(JoiningMesh().host)
    first, second = catalogs.of("first"), catalogs.of("second")

    assert catalogs.of("first") is first
    catalogs.of("third")

    assert catalogs.of("first") is first
    assert catalogs.of("second") is not second
