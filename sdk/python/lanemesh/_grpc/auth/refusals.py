"""Refused calls: the faults that their callers get, and the lines that the server logs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from enum import StrEnum

from lanemesh._grpc.auth.callers import Caller
from lanemesh._grpc.auth.scopes import Scope
from lanemesh.faults import Code, Fault
from lanemesh.rendering import rendered

LOG_SECONDS = 1.0
"""Shortest time between two log lines of one kind of refusal."""

log = logging.getLogger("lanemesh.auth")


class Refusal(StrEnum):
    """Why a call is refused: the reason of its fault."""

    MISSING = "token-missing"
    INVALID = "token-invalid"
    EXPIRED = "token-expired"
    AUDIENCE = "token-audience"
    SCOPE = "scope-missing"
    UNVERIFIABLE = "token-unverifiable"


_MESSAGES = {
    Refusal.MISSING: (
        "this server requires a token. Set LANEMESH_TOKEN or LANEMESH_TOKEN_FILE, or send `authorization: Bearer TOKEN`"
    ),
    Refusal.INVALID: "the token is not one that this server accepts. Ask the operator of the mesh for a valid one",
    Refusal.EXPIRED: "the token has expired. Get a new one, and set LANEMESH_TOKEN or the file of LANEMESH_TOKEN_FILE to it",
    Refusal.AUDIENCE: "the token is for another audience. Request one for the audience of this mesh",
    Refusal.UNVERIFIABLE: "the keys that verify the token cannot be fetched. Try again, or see the log of the server",
}


class TokenRefused(Exception):
    """A token is not accepted; `refusal` is the reason."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


def refusal_fault(refusal: Refusal) -> Fault:
    """The fault of a call whose token is not accepted. It does not contain the token."""
    code = Code.UNAVAILABLE if refusal is Refusal.UNVERIFIABLE else Code.UNAUTHENTICATED
    return Fault(code=code, reason=refusal.value, message=_MESSAGES[refusal])


def scope_fault(caller: Caller, method: str, scopes: Collection[Scope]) -> Fault:
    """The fault of a call that its caller may not make."""
    needed = " or ".join(scope for scope in Scope if scope in scopes)
    has = ", ".join(scope for scope in Scope if scope in caller.scopes) or "none"
    message = (
        f"{method} needs a token with the scope {needed}; that of {rendered(caller.name, 80)} has {has}. "
        "Use another token, or ask the operator of the mesh for the scope"
    )
    return Fault(code=Code.PERMISSION_DENIED, reason=Refusal.SCOPE.value, message=message)


class RefusalLog:
    """Logs refusals: at most one line a second of each kind, with the number of those since the last line."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._logged: dict[Refusal, float] = {}
        self._unlogged: dict[Refusal, int] = dict.fromkeys(Refusal, 0)

    def add(self, refusal: Refusal, method: str, peer: str) -> None:
        """Counts a refusal, and logs it unless a line of its kind was logged within the last second."""
        self._unlogged[refusal] += 1
        now = self._now()
        if now - self._logged.get(refusal, -LOG_SECONDS) < LOG_SECONDS:
            return
        count, self._unlogged[refusal], self._logged[refusal] = self._unlogged[refusal], 0, now
        more = f", and {count - 1} before it" if count > 1 else ""
        log.warning("refused %s from %s: %s%s", rendered(method, 120), peer or "an unknown peer", refusal.value, more)
