"""The tokens that a server accepts, and their callers."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lanemesh._grpc.auth.auth_file import JwtIssuer, StaticToken, bad_auth_file, read_auth_file
from lanemesh._grpc.auth.callers import Caller
from lanemesh._grpc.auth.jwt_keys import Keys, keys_of
from lanemesh._grpc.auth.refusals import Refusal, TokenRefused, refusal_fault, scope_fault
from lanemesh._grpc.auth.scopes import Scope, scopes_of
from lanemesh._grpc.bearer import BearerToken
from lanemesh._grpc.security import Security
from lanemesh.faults import LanemeshError

MAX_VERIFIED = 10_000
"""Most verified tokens that are remembered; the ones used longest ago are forgotten first."""
VERIFIED_SECONDS = 300.0
"""How long a verified token is accepted without another check, such as of a key that its issuer has withdrawn."""
LOOK_SECONDS = 1.0
"""How often the file is looked at for changes, at most."""
MAX_JWT = 8 * 1024
"""Longest JWT that is looked at, in characters."""

log = logging.getLogger("lanemesh.auth")


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was verified."""

    caller: Caller
    until: float
    """When it expires, or has to be verified again: seconds since the epoch."""


class AcceptedTokens:
    """The tokens of a file, which is read again within a second when it has changed. If a changed file is invalid, the tokens
    before remain accepted, and a warning is logged."""

    def __init__(self, file: Path, *, now: Callable[[], float] = time.time) -> None:
        """Reads the file. Raises LanemeshError ("bad-auth-file") if it is invalid."""
        self._file = file
        self.now = now
        """The clock, in seconds since the epoch."""
        self._verified: OrderedDict[bytes, _Known] = OrderedDict()
        self._stamp = self._stamps()
        self._looked = now()
        self._load()

    def verified(self, token: str) -> Caller | None:
        """The caller of a token that was verified before; None: `verify` has to do so."""
        self._look()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is None:
            return None
        if self.now() >= known.until:
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return known.caller

    async def verify(self, token: str) -> Caller:
        """The caller of a token. Raises TokenRefused if it is not accepted."""
        self._look()
        digest = hashlib.sha256(token.encode()).digest()
        caller, expires = self._static(digest) or await self._jwt(token)
        now = self.now()
        if now >= expires:
            raise TokenRefused(Refusal.EXPIRED)
        self._verified[digest] = _Known(caller, min(expires, now + VERIFIED_SECONDS))
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        return caller

    def expiry(self, token: str) -> float:
        """When a token that was accepted before expires, in seconds since the epoch; infinite: never; 0: it is no longer known."""
        found = self._static(hashlib.sha256(token.encode()).digest())
        if found is not None:
            return found[1]
        import jwt

        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            return float(claims["exp"]) + self._issuers[str(claims["iss"])][0].leeway
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            return 0.0

    def _static(self, digest: bytes) -> tuple[Caller, float] | None:
        """A static token. Each comparison takes the same time, whichever token it is."""
        found: StaticToken | None = None
        for entry, accepted in self._tokens:
            if hmac.compare_digest(accepted, digest):
                found = entry
        if found is None:
            return None
        expires = found.expires.timestamp() if found.expires is not None else float("inf")
        return Caller(name=found.name, scopes=found.scopes), expires

    async def _jwt(self, token: str) -> tuple[Caller, float]:
        if not self._issuers or token.count(".") != 2 or len(token) > MAX_JWT:
            raise TokenRefused(Refusal.INVALID)
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            entry, keys = self._issuers[str(issuer)]
        except (jwt.PyJWTError, KeyError, TypeError):
            raise TokenRefused(Refusal.INVALID) from None
        key_id = header.get("kid")
        key = await keys.key(key_id if isinstance(key_id, str) else None)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(entry.algorithms),
                audience=entry.audience,
                issuer=entry.issuer,
                leeway=entry.leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
            expires = float(claims["exp"]) + entry.leeway
        except jwt.ExpiredSignatureError:
            raise TokenRefused(Refusal.EXPIRED) from None
        except jwt.InvalidAudienceError:
            raise TokenRefused(Refusal.AUDIENCE) from None
        except (jwt.PyJWTError, TypeError, ValueError):
            raise TokenRefused(Refusal.INVALID) from None
        name = claims.get("sub")
        return Caller(
            name=name if isinstance(name, str) and name else "unnamed",
            issuer=entry.issuer,
            scopes=_scopes(claims.get(entry.scope_claim)),
        ), expires

    def _look(self) -> None:
        """Reads the file again if it has changed."""
        now = self.now()
        if 0 <= now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        stamp = self._stamps()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._load()
        except Exception as error:
            log.warning("the tokens before remain accepted: %s", error)
            return
        log.info("the tokens of %s are used from now on", self._file)

    def _load(self) -> None:
        content = read_auth_file(self._file)
        tokens: list[tuple[StaticToken, bytes]] = []
        for entry in content.tokens:
            try:
                tokens.append((entry, entry.digest(self._file.parent)))
            except (OSError, ValueError) as error:
                raise bad_auth_file(self._file, f"the entry {entry.name}: {error}") from None
        issuers: dict[str, tuple[JwtIssuer, Keys]] = {
            issuer.issuer: (issuer, keys_of(issuer, self._file)) for issuer in content.jwt
        }
        self._tokens, self._issuers = tokens, issuers
        self._watched = [
            *(entry.token_file for entry in content.tokens if entry.token_file is not None),
            *(issuer.key_file or issuer.jwks_file for issuer in content.jwt if issuer.jwks_url is None),
        ]
        self._verified.clear()
        self._stamp = self._stamps()
        for entry in content.tokens:
            if entry.expires is not None and entry.expires <= datetime.now(UTC):
                log.warning("the token %s of %s has expired", entry.name, self._file)

    _watched: list[Path | None]
    """Further files whose change is one of the tokens, from the folder of the file."""

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        files = [self._file, *(self._file.parent / one for one in getattr(self, "_watched", ()) if one is not None)]
        return tuple(_stamp(file) for file in files)


async def check_own_token(security: Security, method: str) -> None:
    """Checks that servers with the same settings accept the token that these settings send, before a process is started that would
    only be refused. `method`: what it has to call.

    Raises:
        LanemeshError: they refuse it.
    """
    if security.auth is None:
        return
    try:
        token = BearerToken(security).current()
        if not token:
            raise TokenRefused(Refusal.MISSING)
        caller = await AcceptedTokens(security.auth).verify(token)
    except TokenRefused as refused:
        raise LanemeshError(refusal_fault(refused.refusal)) from None
    if not caller.may(*scopes_of(method)):
        raise LanemeshError(scope_fault(caller, method, scopes_of(method)))


def _scopes(claim: Any) -> frozenset[Scope]:
    """The scopes of a claim; others than ours are for others."""
    given = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return frozenset(scope for scope in Scope if scope.value in given)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
