"""The database of a memory store: an SQLite file, or the URL of a PostgreSQL database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from lanemesh_services.memory.errors import bad_database
from lanemesh_services.shared.postgres_url import KNOWN, checked


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
        return Location(checked(text), None)
    except ValueError as error:
        raise bad_database("the database of `url`", str(error), f"{KNOWN}, or set `file`") from None
