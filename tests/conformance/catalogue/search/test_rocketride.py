"""Documents of RocketRide's editor run as they are: with a folder in place of its Qdrant server, and a scripted model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document, Media
from lanemesh_orchestrator import Mesh

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

FOLDER = Path(__file__).parents[3] / "data" / "rocketride"
MINUTES = (
    "Minutes of the harbour board.\n\nThe board decided to repaint the ferry in green. The work begins in May.\n\n"
    "The new harbour master is Ines Duarte. She begins on the first of June."
)


def scripted(name: str) -> dict[str, Any]:
    """A document with a scripted model in place of OpenAI's."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.pipe").read_text(encoding="utf-8"))
    for component in document["components"]:
        if component["provider"] == "llm_openai":
            component |= {"provider": "llm_scripted", "config": {"script": ["Ines Duarte [1]."]}}
    found = {"id": "found_1", "provider": "response", "input": [{"lane": "documents", "from": "qdrant_1"}]}
    if any(edge["from"] == "qdrant_1" for part in document["components"] for edge in part.get("input", ())):
        document["components"].append(found)
    return document


async def test_minutes_are_ingested_by_one_document_and_asked_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROCKETRIDE_QDRANT_HOST", "localhost")
    monkeypatch.setenv("ROCKETRIDE_LIBRARY", "minutes")
    local = {"qdrant_1.path": str(tmp_path / "qdrant")}
    file = Document("", source="minutes.txt", file=Media("text/plain", MINUTES.encode()))
    async with Mesh(folder=tmp_path) as mesh:
        await mesh.run(scripted("ingest"), input=file, settings=local).result()
        answered = await mesh.run(
            scripted("question_answering"), input="Who is the new harbour master?", settings=local
        ).result()

    assert answered.text.startswith("Ines Duarte [1].")
    assert any("Ines Duarte" in document.content for document in answered["found_1"])
