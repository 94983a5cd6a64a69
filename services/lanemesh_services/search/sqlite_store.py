"""Documents in an SQLite file: full text by FTS5, vectors by sqlite-vec."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import sqlite_vec
from lanemesh import Document

from lanemesh_services.search.errors import store_failed, store_unusable
from lanemesh_services.search.filters import Condition, Filter
from lanemesh_services.search.store import Collection, Query, key_of
from lanemesh_services.search.words import query_words

BUSY_MILLISECONDS = 30_000
"""How long another writer may delay a write."""
MAX_CONNECTIONS = 4
"""Most idle connections that are kept."""
_COLUMNS = "d.content, d.id, d.source, d.chunk_index, d.metadata"
_COMPARED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of a collection. They have numbers, because names of collections that differ only in the case of a letter, or by
    an ending such as "_data", would be names of one table. Collections of earlier versions have their own names."""

    name: str
    dimensions: int
    """Length of the embeddings."""

    @property
    def documents(self) -> str:
        """The table of documents, quoted."""
        return f'"docs_{self.name}"'

    @property
    def words(self) -> str:
        """The index of their words, quoted."""
        return f'"words_{self.name}"'

    def remove(self, connection: apsw.Connection, sources: Sequence[str]) -> None:
        """Removes all documents of these sources."""
        chosen, values = "source IN (SELECT value FROM json_each(?))", json.dumps(list(sources))
        self.forget_words(connection, chosen, values)
        connection.execute(f"DELETE FROM {self.documents} WHERE {chosen}", (values,))

    def forget_words(self, connection: apsw.Connection, chosen: str, values: str) -> None:
        """Removes the words of the documents that the SQL `chosen` selects with these values."""
        connection.execute(
            f"DELETE FROM {self.words} WHERE rowid IN (SELECT rowid FROM {self.documents} WHERE {chosen})", (values,)
        )


class SqliteStore(Collection):
    """A collection in an SQLite file, which several processes may use at once."""

    def __init__(self, path: Path, collection: str) -> None:
        """Opens the file, and creates it if it is missing. Raises StoreFailed if that fails."""
        self.where = f"{path} (collection {collection})"
        self._path = path
        self._collection = collection
        self._idle: list[apsw.Connection] = []
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._connection() as connection:
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
                _prepare(connection)
        except (OSError, apsw.Error) as error:
            hint = "Check the path, its permissions, and that it is an SQLite database"
            raise store_unusable(str(path), error, hint) from None

    def put(self, documents: Sequence[Document], replaced: Sequence[str] = ()) -> None:
        """See `Store.put`."""
        with self._writing() as connection:
            tables = self._tables(connection) or self._made(connection, len(documents[0].embedding))
            self._check(tables.dimensions, *(document.embedding for document in documents))
            tables.remove(connection, replaced)
            keys = [key_of(document) for document in documents]
            tables.forget_words(connection, "key IN (SELECT value FROM json_each(?))", json.dumps(keys))
            connection.executemany(
                f"INSERT INTO {tables.documents} (key, id, source, chunk_index, content, metadata, embedding) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET id = excluded.id, source = excluded.source, "
                "chunk_index = excluded.chunk_index, content = excluded.content, metadata = excluded.metadata, "
                "embedding = excluded.embedding",
                [_row(key, document) for key, document in zip(keys, documents, strict=True)],
            )
            connection.execute(
                f"INSERT INTO {tables.words} (rowid, content) SELECT rowid, content FROM {tables.documents} "
                "WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(keys),),
            )

    def by_vector(self, query: Query) -> list[Document]:
        """See `Store.by_vector`. Compares the query with every document that meets the filter."""
        with self._connected() as connection:
            tables = self._tables(connection)
            if tables is None:
                return []
            self._check(tables.dimensions, query.embedding)
            where, values = _where(query.filter)
            rows = connection.execute(
                f"SELECT {_COLUMNS}, 1 - vec_distance_cosine(d.embedding, ?) AS score FROM {tables.documents} d WHERE {where} "
                "ORDER BY score DESC, d.key LIMIT ?",
                (sqlite_vec.serialize_float32(list(query.embedding)), *values, query.limit),
            )
            return [_document(row) for row in rows]

    def by_text(self, query: Query) -> list[Document]:
        """See `Store.by_text`. Ranked by BM25."""
        words = query_words(query.text)
        with self._connected() as connection:
            tables = self._tables(connection)
            if not words or tables is None:
                return []
            where, values = _where(query.filter)
            any_word = " OR ".join(f'"{word}"' for word in words)
            rows = connection.execute(
                f"SELECT {_COLUMNS}, -bm25({tables.words}) AS score FROM {tables.words} w "
                f"JOIN {tables.documents} d ON d.rowid = w.rowid "
                f"WHERE {tables.words} MATCH ? AND {where} ORDER BY score DESC, d.key LIMIT ?",
                (any_word, *values, query.limit),
            )
            return [_document(row) for row in rows]

    def delete(self, sources: Sequence[str]) -> None:
        """See `Store.delete`."""
        with self._writing() as connection:
            if (tables := self._tables(connection)) is not None:
                tables.remove(connection, sources)

    def count(self) -> int:
        """See `Store.count`."""
        with self._connected() as connection:
            if (tables := self._tables(connection)) is None:
                return 0
            ((count,),) = connection.execute(f"SELECT count(*) FROM {tables.documents}").fetchall()
            return int(str(count))

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _made(self, connection: apsw.Connection, dimensions: int) -> _Tables:
        """Makes the collection, and returns its tables."""
        number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM lanemesh_collections").fetchall()[0][0]
        made = _Tables(str(number), dimensions)
        connection.execute(
            f"CREATE TABLE {made.documents} (key TEXT NOT NULL UNIQUE, id TEXT NOT NULL, source TEXT NOT NULL, "
            "chunk_index INTEGER, content TEXT NOT NULL, metadata TEXT NOT NULL, embedding BLOB NOT NULL)"
        )
        connection.execute(f'CREATE INDEX "source_{made.name}" ON {made.documents} (source)')
        connection.execute(
            f"CREATE VIRTUAL TABLE {made.words} USING fts5(content, content='', contentless_delete=1, "
            "tokenize='porter unicode61')"
        )
        connection.execute(
            "INSERT INTO lanemesh_collections (name, dimensions, number) VALUES (?, ?, ?)",
            (self._collection, dimensions, number),
        )
        return made

    def _tables(self, connection: apsw.Connection) -> _Tables | None:
        """The tables of the collection; None if there is no such collection yet."""
        found = connection.execute(
            "SELECT coalesce(number, name), dimensions FROM lanemesh_collections WHERE name = ?", (self._collection,)
        ).fetchall()
        return _Tables(str(found[0][0]), int(str(found[0][1]))) if found else None

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """A transaction that writes, and excludes other writers from its begin."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection  # an error closes the connection, which rolls back
            connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        try:
            with self._connection() as connection:
                yield connection
        except apsw.Error as error:
            raise store_failed(self.where, error) from None

    @contextmanager
    def _connection(self) -> Iterator[apsw.Connection]:
        """A connection that no other thread uses."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = _opened(self._path)
        try:
            yield connection
        except BaseException:
            connection.close(True)  # without an error of its own, which would hide the cause
            raise
        with self._lock:
            if len(self._idle) < MAX_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


def _opened(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)
    return connection


def _prepare(connection: apsw.Connection) -> None:
    """Makes the table of collections, or adds the column to it that those of earlier versions do not have."""
    if "number" in _columns(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    columns = _columns(connection)  # another process may have done it meanwhile
    if not columns:
        connection.execute(
            "CREATE TABLE lanemesh_collections (name TEXT PRIMARY KEY, dimensions INTEGER NOT NULL, number INTEGER)"
        )
    elif "number" not in columns:
        connection.execute("ALTER TABLE lanemesh_collections ADD COLUMN number INTEGER")
    connection.execute("COMMIT")


def _columns(connection: apsw.Connection) -> list[str]:
    """The columns of the table of collections; none if there is no such table."""
    found = connection.execute("SELECT name FROM pragma_table_info('lanemesh_collections')").fetchall()
    return [str(name) for (name,) in found]


def _row(key: str, document: Document) -> tuple[Any, ...]:
    return (
        key,
        document.id,
        document.source,
        document.chunk_index,
        document.content,
        json.dumps(document.metadata, ensure_ascii=False),
        sqlite_vec.serialize_float32(list(document.embedding)),
    )


def _document(row: Sequence[Any]) -> Document:
    content, identity, source, chunk_index, metadata, score = row
    return Document(
        content, id=identity, source=source, chunk_index=chunk_index, metadata=json.loads(metadata), score=score
    )


def _where(conditions: Filter) -> tuple[str, list[Any]]:
    """The SQL of a filter over the table `d`, and its values."""
    parts, values = ["1"], []
    for condition in conditions:
        sql, more = _sql(condition)
        parts.append(sql)
        values += more
    return " AND ".join(parts), values


def _sql(condition: Condition) -> tuple[str, list[Any]]:
    """The elements of a list, or the only value, are rows of json_each. By itself it would walk an object as well."""
    found = "d.metadata -> ?" if condition.is_of_metadata else f"json_quote(d.{condition.key})"
    path = [f'$."{condition.key}"'] if condition.is_of_metadata else []
    kind = f"coalesce(json_type({found}), 'null')"
    first = path * 3
    rows = f"json_each(CASE {kind} WHEN 'array' THEN {found} WHEN 'null' THEN '[]' ELSE json_array({found}) END)"
    present = f"EXISTS (SELECT 1 FROM {rows} WHERE 1"
    wanted = condition.values
    match condition.operator:
        case "exists":
            return f"{'' if condition.value else 'NOT '}{present})", first
        case "eq" | "in":
            return f"{present} AND ({_equals(wanted)}))", [*first, *map(_plain, wanted)]
        case "ne":
            return f"NOT {present} AND ({_equals(wanted)}))", [*first, *map(_plain, wanted)]
    compared = _COMPARED[condition.operator]
    return f"{present} AND type IN ('integer', 'real') AND value {compared} ?)", [*first, condition.value]


def _equals(wanted: Sequence[Any]) -> str:
    """SQL that compares a row of json_each with values, by their JSON types."""
    return " OR ".join(f"(value = ? AND type IN {_types(value)})" for value in wanted)


def _types(value: Any) -> str:
    if isinstance(value, bool):
        return "('true', 'false')"
    return "('text')" if isinstance(value, str) else "('integer', 'real')"


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value
