"""Documents of RocketRide's editor run as they are: with a folder in place of its Qdrant server, and a scripted model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document, Media
from lanemesh_orchestrator import Mesh

from demo_servers import variables

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

FOLDER = Path(__file__).parents[3] / "data" / "rocketride"
INPUTS = Path(__file__).parents[4] / "examples" / "inputs"
MINUTES = (
    "Minutes of the harbour board.\n\nThe board decided to repaint the ferry in green. The work begins in May.\n\n"
    "The new harbour master is Ines Duarte. She begins on the first of June."
)


def scripted(name: str) -> dict[str, Any]:
    """A document with a scripted model in place of OpenAI's."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.pipe").read_text(encoding="utf-8"))
    for component in document["components"]:
        if component["provider"] in ("llm_anthropic", "llm_openai"):
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


async def test_one_document_without_a_source_ingests_and_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROCKETRIDE_QDRANT_HOST", "localhost")
    local = {"qdrant_1.path": str(tmp_path / "qdrant")}
    file = Document("", source="minutes.txt", file=Media("text/plain", MINUTES.encode()))
    async with Mesh(folder=tmp_path) as mesh:
        await mesh.run(scripted("library"), input=file, settings=local, source="webhook_1").result()
        asked = mesh.run(scripted("library"), input="Who is the harbour master?", settings=local, source="chat_1")
        answered = await asked.result()

    assert answered.text.startswith("Ines Duarte [1].")
    assert any("Ines Duarte" in document.content for document in answered["documents"])


async def test_a_scan_and_a_file_lose_their_names_and_keep_their_tables() -> None:
    names = ("handbook.docx", "invoice.png")
    files = [
        Document("", source=name, file=Media("application/octet-stream", (INPUTS / name).read_bytes()))
        for name in names
    ]
    async with Mesh() as mesh:
        result = await mesh.run(FOLDER / "private_scans.pipe", inputs=files).result()
    assert result.state == "completed"
    text = "".join(result["text"])
    assert "INVOICE" in text
    assert "Ada Example" not in text
    assert result["tables"][0].columns == ("Length", "Euros a night")


async def test_a_web_search_and_a_hosted_model_with_local_servers_in_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with variables(with_database=False) as (given, _):
        monkeypatch.setenv("ROCKETRIDE_EXA_KEY", given["EXA_API_KEY"])
        monkeypatch.setenv("ROCKETRIDE_OPENAI_KEY", given["OPENAI_API_KEY"])
        servers = {
            "search_exa_1.base_url": given["EXA_BASE_URL"],
            "llm_openai_1.base_url": given["OPENAI_BASE_URL"],
            "prompt_1.template": "{documents}\n\n{question}",  # the local server quotes a line of the last message
        }
        async with Mesh() as mesh:
            result = await mesh.run(
                FOLDER / "web_answer.pipe", input="Who has built the new pier?", settings=servers
            ).result()
    assert result.state == "completed"
    assert "Harbour Lights Ltd" in result.text
