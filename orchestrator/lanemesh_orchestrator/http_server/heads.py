"""What the head of a request says about where it comes from: its headers, its host and its origin."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope

MAX_NAME = 253
"""Longest name of a host (RFC 1035), in characters."""
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header; None if it is missing, empty if it is given twice or is not ASCII."""
    found: bytes | None = None
    for key, value in scope["headers"]:
        if key == name:
            found = value if found is None else b"\xff"
    if found is None:
        return None
    return found.decode() if found.isascii() else ""


def host_name(host: str) -> str:
    """The name or address of a `Host` header or of an origin, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def is_local(name: str) -> bool:
    """Whether a name is an address, or localhost."""
    return len(name) <= MAX_NAME and _is_local(name)


@lru_cache(maxsize=256)
def _is_local(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_foreign(scope: Scope, permitted: Collection[str] = ()) -> bool:
    """Whether a page of another site sent a request, unless its origin is permitted.

    Browsers send `Origin` with everything but simple GET requests, and `Sec-Fetch-Site` with all requests to a secure context or
    localhost. A navigation from another site, which is a GET, is not foreign.
    """
    origin = header(scope, b"origin")
    if origin is not None:
        return origin not in permitted and not same_origin(origin, header(scope, b"host") or "")
    if header(scope, b"sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    is_navigation = header(scope, b"sec-fetch-mode") == "navigate" and scope.get("method") in ("GET", "HEAD")
    return not is_navigation


def same_origin(origin: str, host: str) -> bool:
    """Whether an origin is that of a `Host` header. The scheme may differ: a proxy may have ended TLS."""
    scheme, _, rest = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None or not rest:
        return False
    return rest.lower().removesuffix(f":{port}") == host.lower().removesuffix(f":{port}")
