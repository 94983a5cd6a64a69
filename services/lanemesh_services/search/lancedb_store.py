"""Documents in a folder of LanceDB."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import lancedb
import pyarrow as pa
from lancedb.index import FTS
from lanemesh import Document

from lanemesh_services.search.errors import store_failed, store_unusable
from lanemesh_services.search.filters import matches
from lanemesh_services.search.store import Collection, Query, key_of
from lanemesh_services.search.words import query_words

WRITES_UNTIL_OPTIMIZED = 50
"""Writes after which the files of a collection are joined, and the index of words is brought up to date."""
KEPT_VERSIONS = timedelta(hours=1)
"""How long earlier versions of a collection are kept, for readers that use them."""
MAX_CONFLICTS = 20
"""How often a write is tried that conflicts with those of other processes."""
CONFLICTS = ("conflict", "already exist", "concurrent", "not found")
"""What errors of LanceDB say when another process has written, or made the collection, at the same time."""
PAUSE_SECONDS = 0.05
"""Longest pause after the first conflict; after each further one it may be that much longer."""
WIDER = 4
"""How many times as many documents as are wanted are first compared with a filter; then all of them, if too few meet it."""
PIECE = 256
"""How many documents are compared with a filter at a time."""
PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Marks the field by which LanceDB notices that two writers have added the same document."""
_FILTERED = ["id", "source", "chunk_index", "metadata"]
"""The columns that a filter compares."""
_COLUMNS = ["content", *_FILTERED]


_LOCKS: WeakValueDictionary[tuple[str, str], threading.Lock] = WeakValueDictionary()
"""One lock for the writers of each open collection in this process. Those of other processes are noticed by LanceDB."""
_LOCKING = threading.Lock()
"""Held while a lock is added."""


Ranking: TypeAlias = "tuple[pa.ChunkedArray, pa.ChunkedArray]"
"""The numbers of rows, the best one first, and what they are ranked by."""


class LancedbStore(Collection):
    """A collection in a folder, which several processes may use at once."""

    def __init__(self, path: Path, collection: str) -> None:
        """Opens the folder, and creates it if it is missing. Raises StoreFailed if that fails."""
        self.where = f"{path} (collection {collection})"
        self._collection = collection
        with _LOCKING:
            self._writing = _LOCKS.setdefault((str(path.resolve()), collection), threading.Lock())
        self._writes = 0
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._database = lancedb.connect(str(path), read_consistency_interval=timedelta(0))
        except (OSError, ValueError, RuntimeError) as error:
            raise store_unusable(str(path), error, "Check the path and its permissions") from None
        self._open: Any = None

    def put(self, documents: Sequence[Document], replaced: Sequence[str] = ()) -> None:
        """See `Store.put`."""
        with self._errors(), self._writing:
            table = self._table() or self._made(len(documents[0].embedding))
            dimensions = _dimensions(table)
            self._check(dimensions, *(document.embedding for document in documents))
            rows = pa.Table.from_pylist([_row(document) for document in documents], schema=table.schema)
            upsert = table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
            if replaced:
                upsert = upsert.when_not_matched_by_source_delete(_is_of(replaced))
            _repeated(lambda: upsert.execute(rows))
            self._writes += 1
            if self._writes % WRITES_UNTIL_OPTIMIZED == 0:
                table.optimize(cleanup_older_than=KEPT_VERSIONS)

    def by_vector(self, query: Query) -> list[Document]:
        """See `Store.by_vector`."""
        with self._errors():
            table = self._table()
            if table is None:
                return []
            self._check(_dimensions(table), query.embedding)
            vector = list(query.embedding)

            def ranked(limit: int) -> Ranking:
                search = table.search(vector, vector_column_name="embedding").distance_type("cosine")
                found = search.select(["_distance"]).with_row_id(True).limit(limit).to_arrow()
                return found["_rowid"], found["_distance"]

            scores = _filtered(table, ranked, query)
            return _documents(table, {row: 1.0 - distance for row, distance in scores.items()})

    def by_text(self, query: Query) -> list[Document]:
        """See `Store.by_text`."""
        words = query_words(query.text)
        with self._errors():
            table = self._table()
            if table is None or not words:
                return []

            def ranked(limit: int) -> Ranking:
                search = table.search(" ".join(words), query_type="fts", fts_columns="content")
                found = search.select(["_score"]).with_row_id(True).limit(limit).to_arrow()
                return found["_rowid"], found["_score"]

            return _documents(table, _filtered(table, ranked, query))

    def delete(self, sources: Sequence[str]) -> None:
        """See `Store.delete`."""
        with self._errors(), self._writing:
            table = self._table()
            if table is not None:
                _repeated(lambda: table.delete(_is_of(sources)))

    def count(self) -> int:
        """See `Store.count`."""
        with self._errors():
            table = self._table()
            return int(table.count_rows()) if table is not None else 0

    def close(self) -> None:
        """See `Store.close`."""
        self._open = None

    def _table(self) -> Any:
        """The table of the collection; None if there is none yet."""
        if self._open is None and self._collection in _names(self._database):
            self._open = self._database.open_table(self._collection)
        return self._open

    def _made(self, dimensions: int) -> Any:
        schema = pa.schema(
            [
                pa.field("key", pa.string(), nullable=False, metadata=PRIMARY_KEY),
                pa.field("id", pa.string(), nullable=False),
                pa.field("source", pa.string(), nullable=False),
                pa.field("chunk_index", pa.int64()),
                pa.field("content", pa.string(), nullable=False),
                pa.field("metadata", pa.string(), nullable=False),
                pa.field("embedding", pa.list_(pa.float32(), dimensions), nullable=False),
            ]
        )

        def make() -> None:
            self._open = self._database.create_table(self._collection, schema=schema, exist_ok=True)
            if not self._open.list_indices():
                self._open.create_index("content", config=FTS(), replace=True)

        _repeated(make)
        return self._open

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            self._open = None  # the collection may have been removed
            raise store_failed(self.where, error) from None


def _repeated(write: Callable[[], object]) -> None:
    """Writes, again after each conflict with a writer of another process."""
    for attempt in range(MAX_CONFLICTS):
        try:
            write()
            return
        except (OSError, ValueError, RuntimeError) as error:
            if attempt == MAX_CONFLICTS - 1 or not any(sign in str(error).lower() for sign in CONFLICTS):
                raise
        time.sleep(random.uniform(0, PAUSE_SECONDS * (attempt + 1)))


def _filtered(table: Any, ranked: Callable[[int], Ranking], query: Query) -> dict[int, float]:
    """The numbers of the first rows that meet the filter, with what they are ranked by. LanceDB cannot look into the metadata, so
    rows are compared here, a few at a time: of the others only numbers are held."""
    if not query.filter:
        return _pairs(ranked(query.limit))
    limit = query.limit * WIDER
    while True:
        numbers, ranks = ranked(limit)
        chosen: dict[int, float] = {}
        for start in range(0, len(numbers), PIECE):
            piece = _pairs((numbers.slice(start, PIECE), ranks.slice(start, PIECE)))
            rows = _rows(table, piece, _FILTERED)
            fitting = [row for row in piece if row in rows and matches(query.filter, _document(rows[row], None))]
            chosen |= {row: piece[row] for row in fitting[: query.limit - len(chosen)]}
            if len(chosen) == query.limit:
                return chosen
        if len(numbers) < limit:
            return chosen
        limit = max(int(table.count_rows()), limit) + 1


def _pairs(ranking: Ranking) -> dict[int, float]:
    numbers, ranks = ranking
    return dict(zip(numbers.to_pylist(), ranks.to_pylist(), strict=True))


def _rows(table: Any, numbers: Mapping[int, float], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Rows by their numbers, without those that were removed meanwhile."""
    if not numbers:
        return {}
    rows = table.take_row_ids(list(numbers)).select(list(columns)).with_row_id().to_list()
    return {row["_rowid"]: row for row in rows}


def _documents(table: Any, scores: Mapping[int, float]) -> list[Document]:
    rows = _rows(table, scores, _COLUMNS)
    return [_document(rows[number], score) for number, score in scores.items() if number in rows]


def _names(database: Any) -> Sequence[str]:
    names: Sequence[str] = database.list_tables().tables
    return names


def _is_of(sources: Sequence[str]) -> str:
    """The SQL that selects the documents of sources."""
    quoted = ", ".join("'" + source.replace("'", "''") + "'" for source in sources)
    return f"source IN ({quoted})"


def _dimensions(table: Any) -> int:
    return int(table.schema.field("embedding").type.list_size)


def _row(document: Document) -> dict[str, Any]:
    return {
        "key": key_of(document),
        "id": document.id,
        "source": document.source,
        "chunk_index": document.chunk_index,
        "content": document.content,
        "metadata": json.dumps(document.metadata, ensure_ascii=False),
        "embedding": list(document.embedding),
    }


def _document(row: dict[str, Any], score: float | None) -> Document:
    return Document(
        row.get("content", ""),
        id=row["id"],
        source=row["source"],
        chunk_index=row["chunk_index"],
        metadata=json.loads(row["metadata"]),
        score=score,
    )
