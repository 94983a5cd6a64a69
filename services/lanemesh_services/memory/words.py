"""The search of a memory store by words: FTS5 of SQLite, full-text search of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from lanemesh_services.memory.tables import ENTRIES

Matching = sa.Select[Any]
"""Selects id and score of entries; the caller adds conditions on the columns of `ENTRIES`."""


class WordIndex(Protocol):
    """The index of the words of entries."""

    def put(self, connection: sa.Connection, space: int, entry: int, searched: str) -> None:
        """Indexes the text of an entry that was stored or replaced."""

    def remove(self, connection: sa.Connection, entries: sa.Select[Any]) -> None:
        """Removes the entries with the selected ids, before they are deleted."""

    def matching(self, space: int, words: Sequence[str]) -> Matching:
        """The entries of a space with words that begin with some of these, each of letters and digits. The score is the part of
        the words that an entry has."""


class SqliteWords:
    """FTS5. The rows of the table `memory_words` have the ids of the entries."""

    def put(self, connection: sa.Connection, space: int, entry: int, searched: str) -> None:
        """Indexes the text of an entry."""
        connection.execute(sa.text("DELETE FROM memory_words WHERE rowid = :entry"), {"entry": entry})
        connection.execute(
            sa.text("INSERT INTO memory_words (rowid, space, words) VALUES (:entry, :space, :words)"),
            {"entry": entry, "space": f"s{space}", "words": searched},
        )

    def remove(self, connection: sa.Connection, entries: sa.Select[Any]) -> None:
        """Removes entries."""
        words = sa.table("memory_words", sa.column("rowid"))
        connection.execute(sa.delete(words).where(words.c.rowid.in_(entries)))

    def matching(self, space: int, words: Sequence[str]) -> Matching:
        """The entries with some of the words."""
        table = sa.table("memory_words", sa.column("rowid"), sa.column("memory_words"))
        found = [
            sa.select(table.c.rowid.label("entry")).where(
                sa.literal_column("memory_words").op("MATCH")(f'space : "s{space}" AND words : "{word}" *')
            )
            for word in words
        ]
        hits = sa.union_all(*[one.select_from(table) for one in found]).subquery()
        counted = (
            sa.select(hits.c.entry, (sa.func.count() / float(len(words))).label("score"))
            .group_by(hits.c.entry)
            .subquery()
        )
        return sa.select(ENTRIES.c.id, counted.c.score).join(counted, counted.c.entry == ENTRIES.c.id)


class PostgresWords:
    """The full-text search of PostgreSQL with the configuration `simple`: words as they are, without case."""

    def put(self, connection: sa.Connection, space: int, entry: int, searched: str) -> None:
        """Does nothing: the index is over a column of the entries."""

    def remove(self, connection: sa.Connection, entries: sa.Select[Any]) -> None:
        """Does nothing."""

    def matching(self, space: int, words: Sequence[str]) -> Matching:
        """The entries with some of the words."""
        vector = sa.func.to_tsvector(sa.literal_column("'simple'"), ENTRIES.c.searched)
        each = [sa.func.to_tsquery(sa.literal_column("'simple'"), f"'{word}':*") for word in words]
        any_of = sa.func.to_tsquery(sa.literal_column("'simple'"), " | ".join(f"'{word}':*" for word in words))
        hits = sum((sa.cast(vector.op("@@")(one), sa.Integer) for one in each), start=sa.literal(0))
        score = (hits / float(len(words))).label("score")
        return sa.select(ENTRIES.c.id, score).where(ENTRIES.c.space == space, vector.op("@@")(any_of))
