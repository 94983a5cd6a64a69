"""The stores that one suite tests, each empty, with real parts: folders, files, and a PostgreSQL with pgvector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lanemesh import Document
from lanemesh_services.search.filters import parse_filter
from lanemesh_services.search.store import Query, Store, identified

KINDS = ("sqlite", "lancedb", "qdrant", "pgvector")


@contextmanager
def opened(kind: str, place: Path, url: str, collection: str = "docs") -> Iterator[Store]:
    """A store of a kind in a folder, or in the database of a URL."""
    store = _made(kind, place, url, collection)
    try:
        yield store
    finally:
        store.close()


def _made(kind: str, place: Path, url: str, collection: str) -> Store:
    if kind == "sqlite":
        from lanemesh_services.search.sqlite_store import SqliteStore

        return SqliteStore(place / "docs.sqlite", collection)
    if kind == "lancedb":
        from lanemesh_services.search.lancedb_store import LancedbStore

        return LancedbStore(place / "lance", collection)
    if kind == "qdrant":
        from lanemesh_services.search.qdrant_store import open_folder

        return open_folder(place / "qdrant", collection)
    from lanemesh_services.search.pgvector_store import PgvectorStore
    from lanemesh_services.shared.postgres_url import checked

    return PgvectorStore(checked(url), f"{collection}_{place.name}", language="english", index="exact")


def document(
    content: str, embedding: tuple[float, ...], source: str = "a.txt", chunk: int | None = 0, **metadata: Any
) -> Document:
    """A document with an id, as nodes hand it to stores."""
    return identified(Document(content, embedding=embedding, source=source, chunk_index=chunk, metadata=metadata))


def query(text: str = "", embedding: tuple[float, ...] = (), limit: int = 5, **filter: Any) -> Query:  # noqa: A002
    """A query with a filter."""
    return Query(text, embedding, limit, parse_filter(filter))


def contents(documents: list[Document]) -> list[str]:
    """The contents of documents in their order."""
    return [found.content for found in documents]
