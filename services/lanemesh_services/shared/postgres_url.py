"""The URL of a PostgreSQL database, as configs may have it."""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

ALLOWED_OPTIONS = frozenset({"sslmode", "connect_timeout", "application_name"})
"""Options in the URL of a database. Others could name files or hosts of the node server."""
KNOWN = "Write postgresql://user:password@host/database"
"""What to do about a URL that is none."""


def checked(text: str) -> URL:
    """The URL with the driver psycopg. Raises ValueError with the reason if it is of something else; it quotes none of it."""
    try:
        url, parts = make_url(text), urlsplit(text)
        is_plain = ((url.host or "").lower(), url.port) == (parts.hostname or "", parts.port)
    except (ArgumentError, ValueError):
        raise ValueError("it is not a URL") from None
    if not is_plain:  # others would read another host in it than the driver does
        raise ValueError("it is not a URL")
    if url.get_backend_name() != "postgresql":
        raise ValueError("it is not a URL of PostgreSQL")
    if not url.host or not url.database or url.host.startswith(("/", "@")):
        raise ValueError("its URL has no host or no database")
    if refused := sorted(url.query.keys() - ALLOWED_OPTIONS):
        raise ValueError(
            f"its URL has the option {refused[0]!r:.80}, which is not one of {', '.join(sorted(ALLOWED_OPTIONS))}"
        )
    return url.set(drivername="postgresql+psycopg")
