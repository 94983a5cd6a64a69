"""Documents in PostgreSQL: vectors by the extension pgvector, words by its full-text search."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from lanemesh import Document
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from lanemesh_services.search.errors import store_away, store_failed, store_unusable
from lanemesh_services.search.filters import Condition, Filter
from lanemesh_services.search.store import Collection, Query, key_of
from lanemesh_services.search.words import query_words

LOCK = 0x6C6D_7067
"""Number of the advisory locks under which collections are made and written."""
CONNECT_SECONDS = 10
"""Longest wait for a connection, unless the URL has another."""
STATEMENT_SECONDS = 120
"""Longest that PostgreSQL may work on one statement."""
SEARCHED_CHARACTERS = 250_000
"""Characters of a document that its words are taken from; PostgreSQL's index has a limit of 1 MB."""
MAX_INDEXED = 2_000
"""Most numbers of an embedding that an index can have."""
_COLUMNS = "content, id, source, chunk_index, metadata"
_JSONPATH = {
    "eq": " ? (@ == $v[*])",
    "in": " ? (@ == $v[*])",
    "ne": " ? (@ == $v[*])",
    "gt": " ? (@ > $v[*])",
    "gte": " ? (@ >= $v[*])",
    "lt": " ? (@ < $v[*])",
    "lte": " ? (@ <= $v[*])",
    "exists": "",
}


class PgvectorStore(Collection):
    """A collection in a PostgreSQL database, which several processes may use at once."""

    def __init__(self, url: sa.URL, collection: str, *, language: str, index: str) -> None:
        """Connects only when it is used.

        Args:
            url: the database, with its driver.
            collection: name of the collection.
            language: a text search configuration of PostgreSQL, such as "english" or "simple".
            index: "exact", or "hnsw" for an approximate index.
        """
        self.where = f"postgresql://{url.host}/{url.database} (collection {collection})"
        self._collection = collection
        self._table = f'"lanemesh_docs_{collection}"'
        self._language = language
        self._index = index
        self._dimensions_known: int | None = None
        arguments: dict[str, Any] = {"options": f"-c statement_timeout={STATEMENT_SECONDS * 1000}"}
        if "connect_timeout" not in url.query:
            arguments["connect_timeout"] = CONNECT_SECONDS
        self._engine = sa.create_engine(url, connect_args=arguments, pool_size=4, max_overflow=4, pool_pre_ping=True)

    def put(self, documents: Sequence[Document], replaced: Sequence[str] = ()) -> None:
        """See `Store.put`."""
        with self._connected() as connection:
            dimensions = self._dimensions(connection) or self._made(connection, len(documents[0].embedding))
            self._check(dimensions, *(document.embedding for document in documents))
            self._wait(connection, alone=bool(replaced))
            if replaced:
                self._remove(connection, replaced)
            rows = sorted((_row(document) for document in documents), key=lambda row: str(row["key"]))
            connection.execute(  # in one order of keys, so that concurrent writers cannot block each other
                sa.text(
                    f"INSERT INTO {self._table} (key, id, source, chunk_index, content, metadata, embedding) VALUES "
                    "(CAST(:key AS uuid), :id, :source, :chunk_index, :content, CAST(:metadata AS jsonb), "
                    "CAST(:embedding AS vector)) ON CONFLICT (key) DO UPDATE SET id = excluded.id, source = excluded.source, "
                    "chunk_index = excluded.chunk_index, content = excluded.content, metadata = excluded.metadata, "
                    "embedding = excluded.embedding"
                ),
                rows,
            )

    def by_vector(self, query: Query) -> list[Document]:
        """See `Store.by_vector`."""
        with self._connected() as connection:
            dimensions = self._dimensions(connection)
            if dimensions is None:
                return []
            self._check(dimensions, query.embedding)
            where, values = _where(query.filter)
            if self._index == "hnsw":
                connection.execute(sa.text("SET LOCAL hnsw.iterative_scan = strict_order"))
            rows = connection.execute(
                sa.text(
                    f"SELECT {_COLUMNS}, 1 - (embedding <=> CAST(:embedding AS vector)) AS score FROM {self._table} "
                    f"WHERE {where} ORDER BY embedding <=> CAST(:embedding AS vector) LIMIT :limit"
                ),
                {**values, "embedding": _vector(query.embedding), "limit": query.limit},
            )
            return [_document(row) for row in rows]

    def by_text(self, query: Query) -> list[Document]:
        """See `Store.by_text`. Ranked by the number and the nearness of the words."""
        words = query_words(query.text)
        with self._connected() as connection:
            if not words or self._dimensions(connection) is None:
                return []
            where, values = _where(query.filter)
            any_word = " | ".join(f"'{word}'" for word in words)
            rows = connection.execute(
                sa.text(
                    f"SELECT {_COLUMNS}, ts_rank_cd(words, q, 1) AS score FROM {self._table}, "
                    f"to_tsquery(CAST(:language AS regconfig), :words) q WHERE words @@ q AND {where} "
                    "ORDER BY score DESC, key LIMIT :limit"
                ),
                {**values, "language": self._language, "words": any_word, "limit": query.limit},
            )
            return [_document(row) for row in rows]

    def delete(self, sources: Sequence[str]) -> None:
        """See `Store.delete`."""
        with self._connected() as connection:
            if self._dimensions(connection) is not None:
                self._wait(connection, alone=True)
                self._remove(connection, sources)

    def count(self) -> int:
        """See `Store.count`."""
        with self._connected() as connection:
            if self._dimensions(connection) is None:
                return 0
            return int(connection.scalar(sa.text(f"SELECT count(*) FROM {self._table}")) or 0)

    def close(self) -> None:
        """See `Store.close`."""
        self._engine.dispose()

    def _wait(self, connection: sa.Connection, *, alone: bool) -> None:
        """Waits for writers that remove documents, or for all of them: those that remove lock rows in no order, and could block
        others, and be blocked by them."""
        lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        connection.execute(sa.text(f"SELECT {lock}(:lock, hashtext(:name))"), {"lock": LOCK, "name": self._table})

    def _remove(self, connection: sa.Connection, sources: Sequence[str]) -> None:
        """Removes all documents of these sources."""
        gone = sa.text(f"DELETE FROM {self._table} WHERE source = ANY(:sources)")
        connection.execute(gone, {"sources": [_storable(source) for source in sources]})

    def _dimensions(self, connection: sa.Connection) -> int | None:
        """Length of the embeddings; None if there is no such collection yet."""
        if self._dimensions_known is None:
            self._dimensions_known = connection.scalar(
                sa.text(
                    "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attname = 'embedding'"
                ),
                {"name": self._table},
            )
        return self._dimensions_known

    def _made(self, connection: sa.Connection, dimensions: int) -> int:
        """Makes the collection, unless another writer has done that meanwhile. Returns the length of its embeddings."""
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        if (made := self._dimensions(connection)) is not None:
            return made
        try:
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
        except DBAPIError as error:
            hint = "Install pgvector at the server, and let its administrator run: CREATE EXTENSION vector"
            raise store_unusable(self.where, f"it has no extension vector ({error.orig})", hint) from None
        words = f"to_tsvector('{self._language}'::regconfig, left(content, {SEARCHED_CHARACTERS}))"
        connection.execute(
            sa.text(
                f"CREATE TABLE {self._table} (key uuid PRIMARY KEY, id text NOT NULL, source text NOT NULL, chunk_index bigint, "
                f"content text NOT NULL, metadata jsonb NOT NULL, embedding vector({dimensions}) NOT NULL, "
                f"words tsvector GENERATED ALWAYS AS ({words}) STORED)".replace("::", r"\:\:")
            )
        )
        connection.execute(sa.text(f"CREATE INDEX ON {self._table} (source)"))
        connection.execute(sa.text(f"CREATE INDEX ON {self._table} USING gin (words)"))
        if self._index == "hnsw" and dimensions <= MAX_INDEXED:
            connection.execute(sa.text(f"CREATE INDEX ON {self._table} USING hnsw (embedding vector_cosine_ops)"))
        return dimensions

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        """A transaction."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except OperationalError as error:
            self._dimensions_known = None
            raise store_away(self.where, error.orig) from None
        except SQLAlchemyError as error:
            self._dimensions_known = None  # the collection may have been removed
            raise store_failed(self.where, getattr(error, "orig", None) or error) from None


def _where(conditions: Filter) -> tuple[str, dict[str, Any]]:
    """The SQL of a filter, and its values. Paths are strict: others look into lists within lists."""
    parts, values = ["true"], {}
    for number, condition in enumerate(conditions):
        found = f"jsonb_path_exists({_list(condition, number)}, CAST(:path{number} AS jsonpath), CAST(:vars{number} AS jsonb))"
        wanted = condition.operator != "ne" and not (condition.operator == "exists" and not condition.value)
        parts.append(found if wanted else f"NOT {found}")
        values[f"path{number}"] = f"strict $[*]{_JSONPATH[condition.operator]}"
        values[f"vars{number}"] = json.dumps({"v": condition.values})
        if condition.is_of_metadata:
            values[f"key{number}"] = condition.key
    return " AND ".join(parts), values


def _list(condition: Condition, number: int) -> str:
    """The values that a condition compares, as a JSON array."""
    value = f"metadata -> CAST(:key{number} AS text)" if condition.is_of_metadata else f"to_jsonb({condition.key})"
    return (
        f"CASE coalesce(jsonb_typeof({value}), 'null') WHEN 'array' THEN {value} WHEN 'null' THEN '[]' "
        f"ELSE jsonb_build_array({value}) END"
    )


def _vector(embedding: Sequence[float]) -> str:
    return f"[{','.join(map(repr, embedding))}]"


def _storable(text: str) -> str:
    """A text as PostgreSQL can store it: without NUL."""
    return text.replace("\0", "\ufffd")


def _row(document: Document) -> dict[str, Any]:
    return {
        "key": key_of(document),
        "id": _storable(document.id),
        "source": _storable(document.source),
        "chunk_index": document.chunk_index,
        "content": _storable(document.content),
        "metadata": json.dumps(document.metadata).replace("\\u0000", "\\ufffd"),
        "embedding": _vector(document.embedding),
    }


def _document(row: Any) -> Document:
    content, identity, source, chunk_index, metadata, score = row
    return Document(content, id=identity, source=source, chunk_index=chunk_index, metadata=metadata, score=float(score))
