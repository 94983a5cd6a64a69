"""The examples of the family: documents that are indexed and asked, in one process and in several."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document
from lanemesh_orchestrator import Mesh

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[4] / "examples"
QUESTION = "What does a berth for one night cost?"


def with_scripted_model(name: str) -> dict[str, Any]:
    """An example whose model is a script, and that also delivers what was found."""
    document: dict[str, Any] = json.loads((EXAMPLES / f"{name}.pipe").read_text(encoding="utf-8"))
    for component in document["components"]:
        if component["id"] == "llm_1":
            component |= {"provider": "llm_scripted", "config": {"script": ["25 crowns."]}}
    found = {"id": "found_1", "provider": "response", "input": [{"lane": "documents", "from": "search_1"}]}
    document["components"].append(found)
    return document


@pytest.mark.parametrize("where", [None, "service"])
async def test_documents_come_in_by_one_source_and_are_asked_by_the_other(where: str | None, tmp_path: Path) -> None:
    document = with_scripted_model("ask_documents")
    guide = (EXAMPLES / "inputs" / "harbour.md").read_text(encoding="utf-8")
    async with Mesh(where, folder=tmp_path) as mesh:  # type: ignore[arg-type]
        for _ in range(2):  # the second time replaces what the first one has stored
            await mesh.run(document, source="webhook_1", input=Document(guide, source="harbour.md")).result()
        answered = await mesh.run(document, source="chat_1", input=QUESTION).result()

    assert answered.text == "25 crowns."
    found = answered["found_1"]
    assert "25 crowns" in found[0].content
    assert {chunk.source for chunk in found} == {"harbour.md"}
    assert len({chunk.content for chunk in found}) == len(found) >= 2


async def test_a_folder_is_indexed_and_a_changed_file_replaces_itself(tmp_path: Path) -> None:
    from lanemesh_services.search.sqlite_store import SqliteStore

    (tmp_path / "inputs").mkdir()
    shutil.copy(EXAMPLES / "inputs" / "harbour.md", tmp_path / "inputs")
    (tmp_path / "inputs" / "note.txt").write_text("The light house was built in 1871.")
    document = json.loads((EXAMPLES / "index_folder.pipe").read_text(encoding="utf-8"))
    once = {"directory_1.watch": False}
    async with Mesh(folder=tmp_path) as mesh:
        await mesh.run(document, settings=once).result()
        store = SqliteStore(tmp_path / ".lanemesh" / "index_folder.sqlite", "documents")
        before = store.count()
        (tmp_path / "inputs" / "note.txt").write_text("The light house was closed in 1960.")
        await mesh.run(document, settings=once).result()
    count = store.count()
    store.close()

    assert before == count >= 3
