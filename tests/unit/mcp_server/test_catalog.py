"""The deployed pipelines as tools, while the node types of a mesh join it."""

from __future__ import annotations

import pytest
from lanemesh_orchestrator.mcp_server import catalog
from lanemesh_orchestrator.mcp_server.catalog import Catalog

from rigs.joining_types import JoiningMesh


@pytest.fixture(autouse=True)
def _no_list_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "FRESH_SECONDS", 0.0)


async def test_a_tool_has_its_arguments_once_the_node_type_of_its_source_has_joined() -> None:
    mesh = JoiningMesh("chat")
    tools = Catalog(mesh.host)
    before = (await tools.offers())["chat"]
    assert (before.source, before.arguments) == ("", ())

    mesh.join()

    after = (await tools.offers())["chat"]
    assert (after.source, [argument.name for argument in after.arguments]) == ("in", ["text"])


async def test_the_document_of_a_version_is_read_once_when_its_node_types_are_known() -> None:
    mesh = JoiningMesh()
    tools = Catalog(mesh.host)

    lists = [await tools.offers() for _ in range(3)]

    assert (mesh.read, [list(one) for one in lists]) == (1, [["chat"]] * 3)
