"""The nodes of stores: documents in, questions answered, and what goes wrong."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document, LanemeshError, Question
from lanemesh.faults import Code
from lanemesh.node.node import Node
from lanemesh.permissions import Permissions
from lanemesh.testing import run_node
from lanemesh_services.search.errors import store_away
from lanemesh_services.search.sqlite_store import SqliteStore
from lanemesh_services.search.stores import Lancedb, Pgvector, Qdrant, SqliteSearch
from pydantic import ValidationError

pytestmark = pytest.mark.model

NODES: dict[str, type[Node]] = {"sqlite": SqliteSearch, "lancedb": Lancedb, "qdrant": Qdrant, "pgvector": Pgvector}
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def config_of(kind: str, url: str, place: Path, **more: Any) -> dict[str, Any]:
    """The config of a node for a store in this folder or database."""
    if kind == "pgvector":
        return {"url": url, "collection": f"nodes_{place.name}", **more}
    return {"path": str(place / ("docs.sqlite" if kind == "sqlite" else "docs")), **more}


def chunk(
    content: str, embedding: tuple[float, ...] = EAST, source: str = "a.txt", n: int = 0, **metadata: Any
) -> Document:
    """A chunk of a document."""
    return Document(content, embedding=embedding, source=source, chunk_index=n, metadata=metadata)


def test_happy_questions_are_answered_with_what_was_stored_before(kind: str, url: str, place: Path) -> None:
    result = run_node(
        NODES[kind],
        config=config_of(kind, url, place, limit=2),
        arrivals=[
            *(("documents", chunk(f"east {n}", n=n)) for n in range(30)),
            ("documents", chunk("north", NORTH, source="b.txt")),
            ("questions", Question("where is north?", embedding=(0.1, 1.0), documents=(Document("own"),))),
            ("questions", Question("where is east?", embedding=EAST)),
        ],
        timeout=60,
    )

    assert result.found[0].content == "north"
    assert len(result.found) == 4
    assert result.answers[0].text.splitlines()[1] == "north"
    first, second = result.asked
    assert [document.content for document in first.documents][:2] == ["own", "north"]
    assert (second.text, len(second.documents)) == ("where is east?", 2)
    assert second.documents[0].score == pytest.approx(1.0, abs=1e-5)


def test_happy_a_later_run_replaces_a_source_and_removes_another(kind: str, url: str, place: Path) -> None:
    config = config_of(kind, url, place, replace_source=True, search="text")
    run_node(NODES[kind], config=config, documents=[chunk(f"old {n}", n=n) for n in range(3)], timeout=60)
    run_node(NODES[kind], config=config, documents=[chunk("old b", source="b.txt"), chunk("old c", source="c.txt")])

    result = run_node(
        NODES[kind],
        config=config,
        arrivals=[
            ("documents", chunk("new 0", n=0)),
            ("documents", chunk("new 1", n=1)),
            ("documents", Document("", source="b.txt", metadata={"deleted": True})),
            ("questions", Question("old new")),
        ],
        timeout=60,
    )

    assert sorted(document.content for document in result.found) == ["new 0", "new 1", "old c"]


def test_error_a_document_that_cannot_be_stored_replaces_nothing(kind: str, url: str, place: Path) -> None:
    config = config_of(kind, url, place, replace_source=True, search="text")
    run_node(NODES[kind], config=config, documents=[chunk(f"old {n}", n=n) for n in range(2)], timeout=60)

    result = run_node(
        NODES[kind],
        config=config,
        on_error="skip",
        arrivals=[("documents", chunk("new", (1.0, 0.0, 0.0))), ("questions", Question("old new"))],
        timeout=60,
    )

    assert result.skipped == 1
    assert sorted(document.content for document in result.found) == ["old 0", "old 1"]


def test_error_a_source_is_replaced_by_the_retry_of_a_write_that_failed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of("sqlite", "", place, replace_source=True, search="text")
    run_node(SqliteSearch, config=config, documents=[chunk(f"old {n}", n=n) for n in range(3)], timeout=60)
    put, failures = SqliteStore.put, [store_away("it", "no answer")]

    def put_later(self: SqliteStore, documents: Sequence[Document], replaced: Sequence[str] = ()) -> None:
        if failures:
            raise failures.pop()
        put(self, documents, replaced)

    monkeypatch.setattr(SqliteStore, "put", put_later)
    retry = {"retry": {"attempts": 2, "backoff": 0.001}}
    run_node(SqliteSearch, config=config, on_error=retry, documents=[chunk("new")], timeout=60)
    result = run_node(SqliteSearch, config=config, questions=[Question("old new")], timeout=60)

    assert [document.content for document in result.found] == ["new"]


def test_error_each_bad_document_fails_alone_with_its_name(kind: str, url: str, place: Path) -> None:
    result = run_node(
        NODES[kind],
        config=config_of(kind, url, place),
        on_error="skip",
        arrivals=[
            ("documents", chunk("fine")),
            ("documents", Document("not embedded", source="bare.txt")),
            ("documents", chunk("zeros", (0.0, 0.0), source="zero.txt")),
            ("documents", chunk("three", (1.0, 0.0, 0.0), source="three.txt")),
            ("documents", chunk("fine too", n=1)),
            ("questions", Question("not embedded")),
            ("questions", Question("east", embedding=EAST)),
        ],
        timeout=60,
    )

    assert result.skipped == 4
    assert len(result.found) == 2


@pytest.mark.parametrize(
    ("document", "reason", "said"),
    [
        (
            Document("x", source="bare.txt"),
            "no-embedding",
            "the document bare.txt has no embedding. Connect an embedding node",
        ),
        (
            chunk("x", (1.0, 2.0, 3.0), source="c.pdf", n=4),
            "other-dimension",
            "the document c.pdf (chunk 4): the collection",
        ),
        (Document("", metadata={"deleted": True}), "no-source", "has no source"),
    ],
)
def test_error_the_fault_names_the_document(tmp_path: Path, document: Document, reason: str, said: str) -> None:
    with pytest.raises(LanemeshError) as raised:
        run_node(SqliteSearch, config={"path": str(tmp_path / "x")}, documents=[chunk("first"), document], timeout=60)

    assert raised.value.fault.reason == reason
    assert said in str(raised.value)


def test_error_an_empty_collection_answers_without_documents(kind: str, url: str, place: Path) -> None:
    result = run_node(
        NODES[kind], config=config_of(kind, url, place), questions=[Question("anything?", embedding=EAST)], timeout=60
    )

    assert (result.found, [answer.text for answer in result.answers]) == ([], ["No documents."])
    assert result.asked[0].documents == ()


@pytest.mark.parametrize("node", [Qdrant, Pgvector])
def test_error_a_store_that_is_away_is_named_without_its_secrets(
    node: type[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANEMESH_ALLOW", "host:127.0.0.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config: dict[str, Any] = {"host": "127.0.0.1", "port": port, "api_key": "s3cret"}
    if node is Pgvector:
        config = {"url": f"postgresql://user:s3cret@127.0.0.1:{port}/db"}

    with pytest.raises(LanemeshError) as raised:
        run_node(node, config=config, documents=[chunk("x")], timeout=60)

    assert (raised.value.fault.reason, raised.value.fault.code) == ("store-unreachable", Code.UNAVAILABLE)
    assert "127.0.0.1" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_error_a_host_needs_the_permission_of_the_node_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Permissions, "local", classmethod(lambda cls: Permissions()))
    with pytest.raises(LanemeshError, match=r"does not permit it to connect to 127\.0\.0\.1:9") as raised:
        run_node(Qdrant, config={"host": "127.0.0.1", "port": 9}, documents=[chunk("x")], timeout=60)
    assert raised.value.fault.reason == "not-permitted"


def test_error_a_file_that_is_no_database_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is a text, and not a database " * 100)
    with pytest.raises(LanemeshError, match="Check the path, its permissions, and that it is an SQLite database"):
        run_node(SqliteSearch, config={"path": str(tmp_path / "text")}, documents=[chunk("x")], timeout=60)


@pytest.mark.parametrize(
    ("node", "config", "said"),
    [
        (Qdrant, {}, "set one of"),
        (Qdrant, {"host": "a", "url": "http://b"}, "set one of"),
        (Qdrant, {"host": "http://a:99999"}, "is not the address of a server"),
        (Qdrant, {"host": "http://"}, "is not the address of a server"),
        (Qdrant, {"host": "a:6333"}, "is not the address of a server"),
        (Qdrant, {"host": "a b"}, "is not the address of a server"),
        (Qdrant, {"host": "a/collections"}, "is not the name of a host"),
        (SqliteSearch, {"path": "x", "filter": {"page": {"above": 3}}}, "is not one of eq"),
        (SqliteSearch, {"path": "x", "filter": {"page": {"gt": "3"}}}, "needs a number"),
        (SqliteSearch, {"path": "x", "filter": {"page": []}}, "needs a list, not empty"),
        (SqliteSearch, {"path": "x", "filter": {'"': 1}}, "quotation mark"),
        (SqliteSearch, {"path": "x", "collection": "a; DROP"}, "pattern"),
        (SqliteSearch, {"path": "x", "limit": 0}, "greater than or equal to 1"),
    ],
)
def test_error_wrong_settings_say_what_is_wrong(node: type[Node], config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        node.Config(**config)
    assert said in str(raised.value)


def test_error_a_url_that_is_none_is_not_quoted() -> None:
    with pytest.raises(LanemeshError, match="it is not a URL of PostgreSQL") as raised:
        run_node(Pgvector, config={"url": "mysql://user:s3cret@host/db"}, documents=[chunk("x")], timeout=60)
    assert "s3cret" not in str(raised.value)


def test_two_components_share_one_local_folder(place: Path) -> None:
    shared = {"path": str(place / "q")}
    run_node(Qdrant, config={**shared, "limit": 1}, documents=[chunk("kept")], timeout=60)
    result = run_node(Qdrant, config={**shared, "limit": 9}, questions=[Question("?", embedding=EAST)], timeout=60)
    assert [document.content for document in result.found] == ["kept"]
