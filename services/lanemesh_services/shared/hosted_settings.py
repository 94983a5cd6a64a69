"""Settings of servers behind HTTP: their address and their key."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr


def checked_url(url: str) -> str:
    """The base URL of a server, without a "/" at its end. Raises ValueError if it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in url):
        raise ValueError('is not the address of a server, such as "http://127.0.0.1:8000/v1"')
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("has a user name, a query or a fragment; put the key into api_key")
    return url.rstrip("/")


def checked_key(key: SecretStr | None) -> SecretStr | None:
    """A key without spaces around it; None if it is empty. Raises ValueError if a header cannot carry it."""
    text = key.get_secret_value().strip() if key is not None else ""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("has characters that no key has, such as a space or a line break")
    return SecretStr(text) if text else None
