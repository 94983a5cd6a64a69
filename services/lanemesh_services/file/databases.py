"""The databases that tables are written into: an SQLite file, or PostgreSQL by its URL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Engine, create_engine

from lanemesh_services.file.errors import database_unusable
from lanemesh_services.shared.postgres_url import KNOWN, checked

CONNECT_SECONDS = 10


def sql_engine(place: Path | str, component: str) -> Engine:
    """The engine of an SQLite file, or of a URL, which may hold a password and is not quoted in errors.

    Raises:
        DatabaseUnusable: the URL is not one of PostgreSQL, or the driver is missing.
    """
    if isinstance(place, Path):
        return create_engine(URL.create("sqlite", database=str(place)))
    try:
        url = checked(place)
    except ValueError as error:
        raise database_unusable(component, "the database of config.url", str(error), KNOWN) from None
    try:
        return create_engine(url, connect_args={"connect_timeout": CONNECT_SECONDS})
    except ImportError:
        shown, hint = f"the database {url.database} at {url.host}", "Run: pip install 'lanemesh[postgres]'"
        raise database_unusable(component, shown, "the Python package psycopg is missing", hint) from None
