"""The keys that verify the JWTs of an issuer: one of a file, or a set of a file or a URL, which may change at any time."""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from lanemesh._grpc.auth.auth_file import JwtIssuer, bad_auth_file
from lanemesh._grpc.auth.refusals import Refusal, TokenRefused
from lanemesh._grpc.connections import is_loopback

if TYPE_CHECKING:
    from jwt import PyJWKSet

MAX_BYTES = 1024 * 1024
"""Largest key or key set, in bytes."""
FETCH_SECONDS = 5.0
"""How long a URL may take for its key set."""
FRESH_SECONDS = 300.0
"""How long a fetched key set is used without another look."""
AGAIN_SECONDS = 10.0
"""Shortest time between two attempts to fetch a key set, also for keys that it lacks."""
MIN_SECRET = 32
"""Fewest bytes of the secret of HS256."""

log = logging.getLogger("lanemesh.auth")


class Keys(Protocol):
    """The keys of an issuer."""

    async def key(self, key_id: str | None) -> Any:
        """The key with this id. Raises TokenRefused: there is none, or the keys cannot be fetched."""


class OneKey:
    """The key of a file, whatever id a token names."""

    def __init__(self, file: Path, entry: JwtIssuer) -> None:
        """Reads it. Raises OSError, or ValueError if it is no key for the algorithms."""
        self._key = _read_key(file, entry)

    async def key(self, key_id: str | None) -> Any:
        return self._key


class KeySetFile:
    """A key set of a file."""

    def __init__(self, file: Path) -> None:
        """Reads it. Raises OSError, or ValueError if it is no key set."""
        self._set = _parse(file.read_bytes())

    async def key(self, key_id: str | None) -> Any:
        return _find(self._set, key_id)


class KeySetUrl:
    """A key set of a URL. It is fetched at the first token, after 300 s, and for a token with an unknown key, but at most every
    10 s. If that fails, the keys before remain in use."""

    def __init__(
        self,
        url: str,
        *,
        fetch: Callable[[str], bytes] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError unless the URL is https, or http on this machine."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError("jwks_url has to begin with https://, or be http:// on this machine")
        self._url, self._fetch, self._now = url, fetch or fetch_keys, now
        self._set: PyJWKSet | None = None
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, key_id: str | None) -> Any:
        if self._now() - self._fetched >= FRESH_SECONDS:
            await self._refresh()
        if self._set is None:
            raise TokenRefused(Refusal.UNVERIFIABLE)
        try:
            return _find(self._set, key_id)
        except TokenRefused:
            await self._refresh()  # the issuer may have a new key
            return _find(self._set, key_id)

    async def _refresh(self) -> None:
        """Fetches the key set, together with other callers."""
        if self._fetching is None:
            if self._now() - self._tried < AGAIN_SECONDS:
                return
            self._tried = self._now()
            self._fetching = asyncio.create_task(self._fetch_once(), name="fetch JSON Web Key Set")
        await asyncio.shield(self._fetching)

    async def _fetch_once(self) -> None:
        try:
            content = await asyncio.to_thread(self._fetch, self._url)
            self._set, self._fetched = _parse(content), self._now()
        except Exception as error:
            log.warning("the keys at %s cannot be fetched: %s", self._url, error)
        finally:
            self._fetching = None


def keys_of(entry: JwtIssuer, file: Path) -> Keys:
    """The keys of an entry of the file of tokens. Raises LanemeshError ("bad-auth-file") if they cannot be used."""
    try:
        if entry.key_file is not None:
            return OneKey(file.parent / entry.key_file, entry)
        if entry.jwks_file is not None:
            return KeySetFile(file.parent / entry.jwks_file)
        return KeySetUrl(entry.jwks_url or "")
    except ImportError:
        raise bad_auth_file(file, "JWTs need PyJWT. Install it with: pip install 'lanemesh[auth]'") from None
    except (OSError, ValueError) as error:
        raise bad_auth_file(file, f"the keys of the issuer {entry.issuer}: {error}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        """A redirect could lead to a URL without TLS."""
        return


def fetch_keys(url: str) -> bytes:
    """The content of a URL. Raises OSError or ValueError: it cannot be fetched within 5 s, redirects, or has more than 1 MiB."""
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(url, timeout=FETCH_SECONDS) as response:
        content: bytes = response.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES // 1024} KiB")
    return content


def _read_key(file: Path, entry: JwtIssuer) -> Any:
    from jwt import PyJWTError, get_algorithm_by_name

    content = file.read_bytes()[:MAX_BYTES]
    if entry.algorithms[0].startswith("HS"):
        content = content.removeprefix(codecs.BOM_UTF8).strip()
        if len(content) < MIN_SECRET:
            raise ValueError(f"the secret in {file} has fewer than {MIN_SECRET} bytes")
    elif b"-----BEGIN " not in content:
        raise ValueError(f"{file} is not a public key in PEM form")
    for name in entry.algorithms:  # a PEM file is that of one of them
        try:
            return get_algorithm_by_name(name).prepare_key(content)
        except (PyJWTError, TypeError, ValueError):
            continue
    raise ValueError(f"{file} is not a key for {', '.join(entry.algorithms)}")


def _parse(content: bytes) -> PyJWKSet:
    from jwt import PyJWKSet, PyJWTError

    try:
        return PyJWKSet.from_dict(json.loads(content[: MAX_BYTES + 1]))
    except (PyJWTError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"it is not a JSON Web Key Set ({error})") from None


def _find(keys: PyJWKSet, key_id: str | None) -> Any:
    for key in keys.keys:
        if key_id is None and len(keys.keys) == 1:
            return key
        if key.key_id == key_id and key.key_id is not None:
            return key
    raise TokenRefused(Refusal.INVALID)
