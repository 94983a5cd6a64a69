"""Connections to the database of a store, in SQLite or PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from lanemesh.faults import LanemeshError

from lanemesh_orchestrator.store.errors import store_error
from lanemesh_orchestrator.store.location import Location

BUSY_SECONDS = 10.0
"""How long another process that shares an SQLite store may delay a write."""


def writing_engine(location: Location) -> sa.Engine:
    """An engine that writes; creates the file of an SQLite store. Raises OSError if it cannot be created."""
    if location.file is None:
        return _postgresql(location)
    location.file.parent.mkdir(parents=True, exist_ok=True)
    with _private():
        location.file.touch()
    engine = sa.create_engine(location.url, connect_args={"timeout": BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def configure(connection: object, _: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _postgresql(location: Location) -> sa.Engine:
    """An engine that refuses databases which cannot hold every text. SQLAlchemy and Alembic fail on texts of SQL_ASCII, which the
    driver returns as bytes."""
    engine = sa.create_engine(location.url, pool_pre_ping=True)

    def check_encoding(connection: Any, _: object) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise _wrong_encoding(location, encoding)

    sa.event.listen(engine, "connect", check_encoding, insert=True)  # before SQLAlchemy itself reads texts
    return engine


def _wrong_encoding(location: Location, encoding: str) -> LanemeshError:
    name = location.url.database
    create = f"createdb --encoding=UTF8 --template=template0 {name}_utf8"
    message = (
        f"the database of the store {location.shown} has the encoding {encoding}, and runs need UTF8. Create another database, for "
        f"example by `{create}`, and give it by --store. An encoding cannot be changed afterwards"
    )
    return store_error("store-encoding", message)


def reading_engine(location: Location) -> sa.Engine:
    """An engine that writes nothing, neither to the store nor beside it.

    SQLite reads a file in WAL mode with further files beside it, and creates them unless they exist. If it cannot create them, and
    none with content exists, the file is complete: it is read as an immutable one.
    """
    if location.file is None:
        return _postgresql(location)
    address = f"{location.file.as_uri()}?mode=ro"
    if not os.access(location.file.parent, os.W_OK) and not _has_log(location.file):
        address += "&immutable=1"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    return sa.create_engine("sqlite+pysqlite://", creator=connect, poolclass=sa.QueuePool)


def _has_log(file: Path) -> bool:
    """Whether the write-ahead log of an SQLite file has content."""
    try:
        return file.with_name(f"{file.name}-wal").stat().st_size > 0
    except OSError:
        return False


@contextmanager
def _private() -> Iterator[None]:
    """Only this user can access the created files."""
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)
