"""The location of a store: a file, or the URL of a database."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from lanemesh_orchestrator.store.errors import store_error


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a store."""

    url: URL
    """The URL for SQLAlchemy, with the driver."""
    file: Path | None
    """The file of an SQLite store; None for a PostgreSQL one."""

    @property
    def shown(self) -> str:
        """The location for people, without a password."""
        return str(self.file) if self.file is not None else self.url.render_as_string(hide_password=True)


def locate(given: str) -> Location:
    """The location of a path, or of a URL such as `postgresql://user@host/database`.

    Raises:
        LanemeshError: it is a URL of something else.
    """
    if "://" not in given:
        return _file(Path(given))
    try:
        url = make_url(given)
    except ArgumentError:
        raise store_error("bad-store", f"{given} is not a URL of a database. {_KNOWN}") from None
    if url.get_backend_name() == "sqlite":
        return _file(Path(url.database or ""))
    if url.get_backend_name() != "postgresql":
        raise store_error("bad-store", f"{url.get_backend_name()} is not a database that can store runs. {_KNOWN}")
    return Location(url.set(drivername="postgresql+psycopg"), None)


def default_store() -> str:
    """The file of the user's own store: in `$XDG_STATE_HOME/lanemesh`, or `~/.local/state/lanemesh`.

    Raises:
        LanemeshError: "no-home": there is no absolute path in XDG_STATE_HOME, and the user has no home folder.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the XDG Base Directory Specification ignores a relative one
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:
            state = Path()
    if not state.is_absolute():
        raise store_error(
            "no-home",
            "there is no folder for the store: this user has no home folder. Give a file by --store, set "
            "XDG_STATE_HOME or HOME to a folder that can be written, or use no store: --store none.",
        )
    return str(state / "lanemesh" / "runs.sqlite")


_KNOWN = "Give a file, such as runs.sqlite, or postgresql://user@host/database."


def _file(path: Path) -> Location:
    if not path.name:
        raise store_error("bad-store", f"a store needs the name of a file. {_KNOWN}")
    try:
        full = path.expanduser().absolute()
    except RuntimeError:
        raise store_error(
            "no-home", f"{path}: there is no such home folder. Give a path without ~, or set HOME."
        ) from None
    return Location(URL.create("sqlite+pysqlite", database=str(full)), full)
