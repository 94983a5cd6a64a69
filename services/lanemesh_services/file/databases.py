"""The databases that tables are written into: an SQLite file, or PostgreSQL by its URL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from lanemesh_services.file.errors import database_unusable

ALLOWED_OPTIONS = frozenset({"sslmode", "connect_timeout", "application_name"})
"""Options in the URL of a database. Others could name files or hosts of the node server."""
CONNECT_SECONDS = 10
_FORM = "Write postgresql://user:password@host/database"


def sql_engine(place: Path | str, component: str) -> Engine:
    """The engine of an SQLite file, or of a URL, which may hold a password and is not quoted in errors.

    Raises:
        DatabaseUnusable: the URL is not one of PostgreSQL, or the driver is missing.
    """
    if isinstance(place, Path):
        return create_engine(URL.create("sqlite", database=str(place)))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        raise database_unusable(component, "the database of config.url", "it is not a URL", _FORM) from None
    shown = f"the database {url.database} at {url.host}"
    if url.get_backend_name() != "postgresql" or not url.host or not url.database or url.host.startswith(("/", "@")):
        raise database_unusable(component, "the database of config.url", "it is not a URL of PostgreSQL", _FORM)
    if refused := sorted(url.query.keys() - ALLOWED_OPTIONS):
        allowed = ", ".join(sorted(ALLOWED_OPTIONS))
        raise database_unusable(
            component, shown, f"the option {refused[0][:80]} is not allowed", f"These are: {allowed}"
        )
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": CONNECT_SECONDS}
        )
    except ImportError:
        hint = "Run: pip install 'lanemesh[postgres]'"
        raise database_unusable(component, shown, "the Python package psycopg is missing", hint) from None
