"""An open memory store. Synchronous; used from worker threads."""

from __future__ import annotations

import array
import hashlib
import heapq
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from lanemesh import LanemeshError, MemoryEntry, MemoryQuery
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from lanemesh_services.memory.errors import database_unusable, driver_missing
from lanemesh_services.memory.in_process import Full, Limits
from lanemesh_services.memory.location import Location
from lanemesh_services.memory.ranking import cosine, json_of, searched_text, split_words, words_of
from lanemesh_services.memory.tables import ENTRIES, SPACES, VERSION, create
from lanemesh_services.memory.words import PostgresWords, SqliteWords, WordIndex

BUSY_SECONDS = 10.0
"""How long another process may delay a write."""
CONNECT_SECONDS = 10.0
"""Longest wait for a connection to PostgreSQL, unless its URL has another."""
STATEMENT_SECONDS = 60.0
"""Longest that PostgreSQL may work on one statement."""
PAGE_ROWS = 16
"""Rows that are read at once; each has at most about 2 MiB."""
EMBEDDINGS_AT_ONCE = 500
"""Embeddings that are read at once."""
PURGE_SECONDS = 60.0
"""Least time between two removals of expired entries."""
PURGE_ROWS = 1_000
"""Most expired entries that are removed at once."""


@dataclass(frozen=True, slots=True)
class SpaceKey:
    """A space of a store."""

    scope: str
    """ "session" or "store"."""
    owner: str
    """The id of the session; empty with the scope store."""
    namespace: str


class Database:
    """An open memory store."""

    def __init__(self, location: Location, now: Callable[[], float] = time.time) -> None:
        """Opens a store, and creates its tables. `now`: seconds since 1970. Raises LanemeshError if that fails."""
        self._location = location
        self._now = now
        self._is_sqlite = location.file is not None
        self._words: WordIndex = SqliteWords() if self._is_sqlite else PostgresWords()
        self._purged_at = 0.0
        self._purging = threading.Lock()
        try:
            self._engine = _sqlite_engine(location) if self._is_sqlite else _postgres_engine(location)
        except ImportError:
            raise driver_missing(location.shown) from None
        except (SQLAlchemyError, OSError) as error:
            raise self._unusable(error) from None
        with self._writing() as connection:
            version = create(connection)
        if version != VERSION:
            self.close()
            hint = "Use the version of Lanemesh that made it, or another database"
            raise database_unusable(location.shown, f"its tables have the version {version}, not {VERSION}", hint)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def put(self, space: SpaceKey, entry: MemoryEntry, ttl: float | None, limits: Limits) -> bool:
        """Stores an entry. Returns whether it replaced one. Raises Full or LanemeshError."""
        now = self._now()
        words = " ".join(split_words(searched_text(entry)))
        row = _row(entry, now, ttl, "" if self._is_sqlite else words)
        self._purge(now)
        with self._writing() as connection:
            number = self._space(connection, space, create=True)
            assert number is not None
            counts, old = self._counts(connection, number, entry.key)
            if counts.entries >= limits.max_entries or counts.bytes + row["size"] > limits.max_bytes:
                self._delete(connection, ENTRIES.c.space == number, ENTRIES.c.expires_at <= now)
                counts, old = self._counts(connection, number, entry.key)
            count, size = counts.entries + (old is None), counts.bytes + row["size"] - (old.size if old else 0)
            if count > limits.max_entries and old is None:
                raise Full(f"the space has {counts.entries:,} entries (max_entries)")
            if size > limits.max_bytes and row["size"] > (old.size if old else 0):
                raise Full(f"the entries of the space would have more than {limits.max_bytes:,} bytes (max_bytes)")
            if old is None:
                made = connection.execute(ENTRIES.insert().values(space=number, **row).returning(ENTRIES.c.id))
                identity = made.scalar_one()
            else:
                identity = old.id
                connection.execute(ENTRIES.update().where(ENTRIES.c.id == identity).values(**row))
            self._words.put(connection, number, identity, words)
            connection.execute(SPACES.update().where(SPACES.c.id == number).values(entries=count, bytes=size))
        return old is not None and (old.expires_at is None or old.expires_at > now)

    def _counts(self, connection: sa.Connection, space: int, key: str) -> tuple[Any, Any]:
        """The counts of a space, which is locked by this, and its entry with a key; None if there is none."""
        counts = connection.execute(
            sa.select(SPACES.c.entries, SPACES.c.bytes).where(SPACES.c.id == space).with_for_update()
        ).one()
        columns = (ENTRIES.c.id, ENTRIES.c.size, ENTRIES.c.expires_at)
        old = connection.execute(sa.select(*columns).where(ENTRIES.c.space == space, ENTRIES.c.key == key)).first()
        return counts, old

    def get(self, space: SpaceKey, key: str) -> MemoryEntry | None:
        """The entry with a key; None if there is none. Raises LanemeshError."""
        with self._reading() as connection:
            found = connection.execute(self._alive(_entries(), space).where(ENTRIES.c.key == key)).first()
        return _entry(found) if found is not None else None

    def page(self, space: SpaceKey, prefix: str, after: str | None, limit: int) -> list[MemoryEntry]:
        """At most 16 entries with a prefix, in the order of their keys, behind the key `after`. Raises LanemeshError."""
        query = self._alive(_entries(), space).order_by(ENTRIES.c.key).limit(min(limit, PAGE_ROWS))
        query = query.where(ENTRIES.c.key >= prefix if after is None else ENTRIES.c.key > after)
        with self._reading() as connection:
            found = [_entry(row) for row in connection.execute(query)]
        return [entry for entry in found if entry.key.startswith(prefix)]

    def matches(self, space: SpaceKey, query: MemoryQuery) -> list[tuple[int, float]]:
        """Ids and scores of the entries that match a query, the best one first. Raises LanemeshError."""
        with self._reading() as connection:
            number = self._space(connection, space)
            if number is None:
                return []
            found = self._by_words(connection, number, query) + self._by_meaning(connection, number, query)
        best = heapq.nlargest(query.limit, found, key=lambda one: (one[1], one[0]))
        return [(identity, score) for identity, score in best if score > 0]

    def scored(self, matches: Sequence[tuple[int, float]]) -> list[MemoryEntry]:
        """The entries of matches, in their order; those that were removed meanwhile are left out. Raises LanemeshError."""
        with self._reading() as connection:
            rows = connection.execute(_entries().where(ENTRIES.c.id.in_([identity for identity, _ in matches])))
            by_id = {row.id: row for row in rows}
        return [_entry(by_id[identity], score) for identity, score in matches if identity in by_id]

    def clear(self, space: SpaceKey, prefix: str) -> int:
        """Removes the entries whose keys begin with a prefix. Returns the number of those that had not expired. Raises
        LanemeshError."""
        with self._writing() as connection:
            number = self._space(connection, space)
            if number is None:
                return 0
            connection.execute(sa.select(SPACES.c.id).where(SPACES.c.id == number).with_for_update())
            begins = sa.func.substr(ENTRIES.c.key, 1, len(prefix)) == prefix
            chosen = [ENTRIES.c.space == number, ENTRIES.c.key >= prefix, *([begins] if prefix else [])]
            alive = sa.or_(ENTRIES.c.expires_at.is_(None), ENTRIES.c.expires_at > self._now())
            count = connection.scalar(sa.select(sa.func.count()).select_from(ENTRIES).where(*chosen, alive))
            self._delete(connection, *chosen)
        return int(count or 0)

    def _by_words(self, connection: sa.Connection, space: int, query: MemoryQuery) -> list[tuple[int, float]]:
        words = words_of(query.text)
        if not words:
            return []
        found = self._words.matching(space, words)
        dimensions = len(query.embedding)
        if dimensions:
            found = found.where(ENTRIES.c.dimensions != dimensions)
        found = self._unexpired(found.where(ENTRIES.c.space == space)).order_by(sa.desc("score"), ENTRIES.c.id.desc())
        rows = connection.execute(found.limit(query.limit))
        return [(row.id, float(row.score)) for row in rows if row.score >= query.min_score]

    def _by_meaning(self, connection: sa.Connection, space: int, query: MemoryQuery) -> list[tuple[int, float]]:
        """Ranks all entries of the space that have an embedding of the query's length."""
        if not query.embedding:
            return []
        chosen = sa.select(ENTRIES.c.id, ENTRIES.c.embedding).where(
            ENTRIES.c.space == space, ENTRIES.c.dimensions == len(query.embedding)
        )
        rows = connection.execution_options(yield_per=EMBEDDINGS_AT_ONCE).execute(self._unexpired(chosen))
        scored = ((row.id, cosine(_numbers(row.embedding), query.embedding)) for row in rows)
        best = heapq.nlargest(query.limit, scored, key=lambda one: (one[1], one[0]))
        return [one for one in best if one[1] >= query.min_score]

    def _alive(self, query: sa.Select[Any], space: SpaceKey) -> sa.Select[Any]:
        """The entries of a space that have not expired."""
        return self._unexpired(query.join(SPACES, SPACES.c.id == ENTRIES.c.space).where(*_is_space(space)))

    def _unexpired(self, query: sa.Select[Any]) -> sa.Select[Any]:
        return query.where(sa.or_(ENTRIES.c.expires_at.is_(None), ENTRIES.c.expires_at > self._now()))

    def _space(self, connection: sa.Connection, space: SpaceKey, *, create: bool = False) -> int | None:
        """The number of a space; None if it has no entries yet."""
        wanted = sa.select(SPACES.c.id).where(*_is_space(space))
        number = connection.scalar(wanted)
        if number is None and create:
            insert = sqlite.insert(SPACES) if self._is_sqlite else postgresql.insert(SPACES)
            values = {"scope": space.scope, "owner": _hashed(space.owner), "namespace": space.namespace}
            connection.execute(insert.values(**values, entries=0, bytes=0).on_conflict_do_nothing())
            number = connection.scalar(wanted)
        return number

    def _purge(self, now: float) -> None:
        """Removes some expired entries, at most once a minute. Spaces are locked before their entries, as by all writers."""
        with self._purging:
            if now - self._purged_at < PURGE_SECONDS:
                return
            self._purged_at = now
        expired = ENTRIES.c.expires_at <= now
        with self._writing() as connection:
            rows = connection.execute(sa.select(ENTRIES.c.id, ENTRIES.c.space).where(expired).limit(PURGE_ROWS)).all()
            if rows:
                spaces = sorted({row.space for row in rows})
                connection.execute(
                    sa.select(SPACES.c.id).where(SPACES.c.id.in_(spaces)).order_by(SPACES.c.id).with_for_update()
                )
                self._delete(connection, ENTRIES.c.id.in_([row.id for row in rows]), expired)

    def _delete(self, connection: sa.Connection, *chosen: Any) -> None:
        """Deletes entries, and adapts the counts of their spaces."""
        self._words.remove(connection, sa.select(ENTRIES.c.id).where(*chosen))
        gone = connection.execute(ENTRIES.delete().where(*chosen).returning(ENTRIES.c.space, ENTRIES.c.size)).all()
        sums: dict[int, tuple[int, int]] = {}
        for row in gone:
            count, size = sums.get(row.space, (0, 0))
            sums[row.space] = count + 1, size + row.size
        for space, (count, size) in sorted(sums.items()):
            change = {"entries": SPACES.c.entries - count, "bytes": SPACES.c.bytes - size}
            connection.execute(SPACES.update().where(SPACES.c.id == space).values(change))

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.execution_options(writes=True).begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise self._unusable(error) from None

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> LanemeshError:
        why = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:300]
        hint = "Check that the database exists, that its server runs, and that this user may write it"
        return database_unusable(self._location.shown, why, hint)


def _row(entry: MemoryEntry, now: float, ttl: float | None, searched: str) -> dict[str, Any]:
    value, text = json_of(entry), entry.text.replace("\0", "\ufffd")  # which PostgreSQL cannot store
    embedding = _packed(entry.embedding)
    size = len(entry.key.encode()) + len(value.encode()) + len(text.encode()) + len(embedding)
    return {
        "key": entry.key,
        "value": value,
        "text": text,
        "searched": searched,
        "embedding": embedding or None,
        "dimensions": len(entry.embedding),
        "size": size,
        "created_at": now,
        "expires_at": now + ttl if ttl is not None else None,
    }


def _entries() -> sa.Select[Any]:
    """All columns that an entry has."""
    columns = (ENTRIES.c.id, ENTRIES.c.key, ENTRIES.c.value, ENTRIES.c.text, ENTRIES.c.created_at, ENTRIES.c.expires_at)
    return sa.select(*columns)


def _entry(row: Any, score: float | None = None) -> MemoryEntry:
    return MemoryEntry(
        key=row.key,
        value=json.loads(row.value),
        text=row.text,
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        expires_at=None if row.expires_at is None else datetime.fromtimestamp(row.expires_at, UTC),
        score=score,
    )


def _is_space(space: SpaceKey) -> tuple[Any, ...]:
    return (
        SPACES.c.scope == space.scope,
        SPACES.c.owner == _hashed(space.owner),
        SPACES.c.namespace == space.namespace,
    )


def _hashed(owner: str) -> str:
    """A session as the database has it: who reads the database does not get the ids of sessions."""
    return hashlib.sha256(owner.encode()).hexdigest() if owner else ""


def _packed(embedding: Sequence[float]) -> bytes:
    numbers = array.array("f", embedding)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _numbers(packed: bytes) -> Sequence[float]:
    numbers = array.array("f")
    numbers.frombytes(packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _postgres_engine(location: Location) -> sa.Engine:
    url = location.url.update_query_dict({"connect_timeout": f"{CONNECT_SECONDS:g}"} | dict(location.url.query))
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS:g}s'")
            cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS:g}s'")
        connection.commit()

    return engine


def _sqlite_engine(location: Location) -> sa.Engine:
    assert location.file is not None
    location.file.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(location.file, os.O_CREAT | os.O_RDWR, 0o600))
    engine = sa.create_engine(location.url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins transactions, not the driver
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
