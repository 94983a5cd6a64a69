"""The database of a memory store: an SQLite file, or the URL of a PostgreSQL database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from lanemesh_services.memory.errors import bad_database

ALLOWED_OPTIONS = frozenset({"sslmode", "connect_timeout", "application_name"})
"""Options in the URL of a database. Others could name files or hosts of the node server."""
_KNOWN = "Write postgresql://user:password@host/database"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a memory store is."""

    url: URL
    """For SQLAlchemy, with the driver."""
    file: Path | None
    """The file of an SQLite database; None: it is PostgreSQL."""

    @property
    def shown(self) -> str:
        """For people, without user and password."""
        if self.file is not None:
            return str(self.file)
        return f"postgresql://{self.url.host}/{self.url.database}"


def file_location(file: str) -> Location:
    """The location of an SQLite file. Raises LanemeshError if it is not the path of a file."""
    try:
        path = Path(file).expanduser().absolute()
        if not path.name or path.is_dir() or "\0" in file:
            raise bad_database(repr(file), "it is not the path of a file", "Set `file` to a path such as memory.sqlite")
    except (RuntimeError, ValueError, OSError) as error:
        raise bad_database(repr(file), str(error), "Set `file` to a path such as memory.sqlite") from None
    return Location(URL.create("sqlite", database=str(path)), path)


def url_location(text: str) -> Location:
    """The location of a PostgreSQL database. Raises LanemeshError if the URL is of something else; it quotes none of it."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise bad_database("the database of `url`", "it is not a URL", _KNOWN) from None
    if url.get_backend_name() != "postgresql":
        raise bad_database("the database of `url`", "it is not a URL of PostgreSQL", f"{_KNOWN}, or set `file`")
    if not url.host or not url.database or url.host.startswith(("/", "@")):
        raise bad_database("the database of `url`", "its URL has no host or no database", _KNOWN)
    if refused := sorted(url.query.keys() - ALLOWED_OPTIONS):
        allowed = ", ".join(sorted(ALLOWED_OPTIONS))
        why = f"its URL has the option {refused[0]!r:.80}"
        raise bad_database("the database of `url`", why, f"Remove it; these are allowed: {allowed}")
    return Location(url.set(drivername="postgresql+psycopg"), None)
