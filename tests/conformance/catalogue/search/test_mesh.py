"""The node types of the family in a mesh: documents by one source, questions by another, and pages of the web."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from lanemesh import Document, Question
from lanemesh_orchestrator import Mesh

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

PROVIDERS = {"sqlite": "sqlite_search", "lancedb": "lancedb", "qdrant": "qdrant", "pgvector": "pgvector"}
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def with_store(provider: str, place: dict[str, Any]) -> dict[str, Any]:
    """A pipeline with two components of one store: one is fed with documents, the other one with questions."""
    return {
        "components": [
            {"id": "webhook_1", "provider": "webhook"},
            {
                "id": "store_1",
                "provider": provider,
                "config": {**place, "replace_source": True},
                "input": [{"lane": "documents", "from": "webhook_1"}],
            },
            {"id": "chat_1", "provider": "chat"},
            {
                "id": "store_2",
                "provider": provider,
                "config": {**place, "limit": 2},
                "input": [{"lane": "questions", "from": "chat_1"}],
            },
            {"id": "found_1", "provider": "response", "input": [{"lane": "documents", "from": "store_2"}]},
        ]
    }


async def test_two_components_of_a_store_are_open_at_once(kind: str, url: str, place: Path) -> None:
    config = {"url": url, "collection": f"mesh_{place.name}"} if kind == "pgvector" else {"path": str(place / "docs")}
    document = with_store(PROVIDERS[kind], config)
    question = Question("where is north?", embedding=NORTH)
    stored = [
        Document(text, source="a.txt", chunk_index=n, embedding=embedding)
        for n, (text, embedding) in enumerate([("east", EAST), ("north", NORTH), ("also east", EAST)])
    ]
    async with Mesh(folder=place) as mesh, mesh.run(document, source="webhook_1", open_input=True) as ingest:
        await ingest.push(Document("old", source="b.txt", embedding=EAST))
        early = await mesh.run(document, source="chat_1", input=question).result()
        for one in stored:
            await ingest.push(one)
        await ingest.end_input()
        await ingest.result()
        late = await mesh.run(document, source="chat_1", input=question).result()

    assert len(early.values) <= 1
    assert (late["found_1"][0].content, len(late["found_1"])) == ("north", 2)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a site with one page."""
    (tmp_path / "ferry.html").write_text("<html><title>Ferry</title><main><p>It leaves at nine.</p></main></html>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_page_is_read_embedded_and_put_before_the_question(site: str, tmp_path: Path) -> None:
    document = {
        "source": "chat_1",
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {
                "id": "web_read_1",
                "provider": "web_read",
                "config": {"private": True},
                "input": [{"lane": "questions", "from": "chat_1"}],
            },
            {
                "id": "embedding_1",
                "provider": "embedding_light",
                "input": [
                    {"lane": "documents", "from": "web_read_1"},
                    {"lane": "questions", "from": "web_read_1"},
                ],
            },
            {
                "id": "response_1",
                "provider": "response",
                "input": [{"lane": "documents", "from": "embedding_1"}, {"lane": "questions", "from": "embedding_1"}],
            },
        ],
    }
    async with Mesh(folder=tmp_path) as mesh:
        result = await mesh.run(document, input=f"When does it leave, by {site}/ferry.html?").result()

    page = next(value for value in result["response_1"] if isinstance(value, Document))
    question = next(value for value in result["response_1"] if isinstance(value, Question))
    assert (page.content, page.metadata["title"], len(page.embedding)) == ("It leaves at nine.", "Ferry", 384)
    assert [found.content for found in question.documents] == ["It leaves at nine."]
    assert len(question.embedding) == 384
