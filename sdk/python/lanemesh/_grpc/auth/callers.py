"""Who calls: what a server knows of a caller while it answers."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from lanemesh._grpc.auth.scopes import Scope

_SPIFFE = re.compile(r"spiffe://lanemesh/(?P<role>[a-z][a-z0-9-]{0,63})/(?P<name>[A-Za-z0-9._-]{1,128})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller whose token a server has accepted. It does not contain the token."""

    name: str
    """Who it is, for display and logs: the name in the file of tokens, or the subject of a JWT."""
    issuer: str = ""
    """Who vouches for it: the issuer of a JWT; empty: the file of tokens."""
    scopes: frozenset[Scope] = field(default_factory=frozenset)
    """What it may do."""

    @property
    def id(self) -> str:
        """Name and issuer, for comparisons: the same name of another issuer is another caller."""
        return f"{self.name}@{self.issuer}" if self.issuer else self.name

    def may(self, *scopes: Scope) -> bool:
        """Whether it has one of these scopes."""
        return not self.scopes.isdisjoint(scopes)


AUTHENTICATED: ContextVar[Caller | None] = ContextVar("lanemesh_authenticated", default=None)
"""The caller in whose call the current code runs; None where no tokens are required, or outside of calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """The name of a peer in its certificate: "spiffe://lanemesh/ROLE/NAME"."""

    role: str
    """What it is, such as "node" or "orchestrator"."""
    name: str
    """Which one."""

    def __str__(self) -> str:
        return f"spiffe://lanemesh/{self.role}/{self.name}"


def peer_identity(context: Any) -> PeerIdentity | None:
    """The identity of the client of a call, by its certificate. None without mTLS, or for a certificate without such a name.

    Args:
        context: that of the call, a `grpc.aio.ServicerContext`.
    """
    for name in context.auth_context().get("peer_uri", ()):
        if found := _SPIFFE.fullmatch(name.decode(errors="replace")):
            return PeerIdentity(role=found["role"], name=found["name"])
    return None
