"""The tables of a memory store, and their creation."""

from __future__ import annotations

import sqlalchemy as sa

VERSION = 1
"""Version of the tables."""
LOCK = 0x6C6D_6D65
"""Number of the advisory lock of PostgreSQL under which the tables are created."""

METADATA = sa.MetaData()
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Compared by code points, as SQLite does."""

VERSIONS = sa.Table("memory_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))
SPACES = sa.Table(
    "memory_spaces",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False, comment="SHA-256 of the session, in hexadecimal; empty: none"),
    sa.Column("namespace", _KEY, nullable=False),
    sa.Column("entries", sa.BigInteger, nullable=False, default=0),
    sa.Column("bytes", sa.BigInteger, nullable=False, default=0),
    sa.UniqueConstraint("scope", "owner", "namespace"),
)
ENTRIES = sa.Table(
    "memory_entries",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("space", sa.ForeignKey("memory_spaces.id"), nullable=False),
    sa.Column("key", _KEY, nullable=False),
    sa.Column("value", sa.Text, nullable=False, comment="JSON"),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("searched", sa.Text, nullable=False, comment="What searches match, without case"),
    sa.Column("embedding", sa.LargeBinary, comment="Numbers of 32 bits, little-endian"),
    sa.Column("dimensions", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False, comment="Seconds since 1970"),
    sa.Column("expires_at", sa.Double, comment="Seconds since 1970; null: never"),
    sa.UniqueConstraint("space", "key"),
    sa.Index("memory_entries_expiry", "expires_at"),
    sqlite_autoincrement=True,
)
_SQLITE_WORDS = "CREATE VIRTUAL TABLE IF NOT EXISTS memory_words USING fts5(space, words, tokenize='unicode61')"
_POSTGRES_WORDS = (
    "CREATE INDEX IF NOT EXISTS memory_entries_words ON memory_entries USING gin (to_tsvector('simple', searched))"
)


def create(connection: sa.Connection) -> int:
    """Creates the tables unless they exist, within a transaction. Returns their version."""
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    METADATA.create_all(connection)
    connection.execute(sa.text(_SQLITE_WORDS if is_sqlite else _POSTGRES_WORDS))
    version = connection.scalar(sa.select(VERSIONS.c.version))
    if version is None:
        connection.execute(VERSIONS.insert().values(version=VERSION))
    return VERSION if version is None else version
