"""The file of accepted tokens, `LANEMESH_AUTH`: static tokens, and the issuers of JWTs."""

from __future__ import annotations

import hashlib
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from lanemesh._grpc.auth.scopes import Scope
from lanemesh.faults import Code, Fault, LanemeshError

MAX_BYTES = 4 * 1024 * 1024
"""Largest file of tokens, in bytes."""
MIN_TOKEN = 16
"""Fewest characters of a static token."""
DEFAULT_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""The algorithms of JWTs that an issuer may use unless its entry names others."""
_ALGORITHMS = frozenset(
    {*DEFAULT_ALGORITHMS, "RS384", "RS512", "PS384", "PS512", "ES384", "ES512", "HS256", "HS384", "HS512"}
)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class StaticToken(_Entry):
    """A `[[tokens]]` entry: a token that does not change."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """Who sends it, for logs."""
    scopes: frozenset[Scope]
    """What its callers may do."""
    token: SecretStr | None = None
    """The token; or `token_file`; or `sha256`."""
    token_file: Path | None = None
    """A file with the token, from the folder of this file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """The SHA-256 of the token, in hexadecimal form, so that this file is no secret."""
    expires: datetime | None = None
    """When it ends; without a time zone: in UTC."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(one is not None for one in (self.token, self.token_file, self.sha256)) != 1:
            raise ValueError("give one of token, token_file and sha256")
        return self

    @field_validator("expires")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def digest(self, folder: Path) -> bytes:
        """The SHA-256 of the token. Raises ValueError if the token is too short, OSError if its file cannot be read."""
        if self.sha256 is not None:
            return bytes.fromhex(self.sha256)
        if self.token_file is not None:
            token = (folder / self.token_file).read_text("utf-8-sig").strip()
        else:
            token = self.token.get_secret_value() if self.token is not None else ""
        if len(token) < MIN_TOKEN:
            raise ValueError(
                f"its token has fewer than {MIN_TOKEN} characters. `openssl rand -hex 32` prints a good one"
            )
        return hashlib.sha256(token.encode()).digest()


class JwtIssuer(_Entry):
    """A `[[jwt]]` entry: who may issue JWTs for this mesh."""

    issuer: Annotated[str, Field(min_length=1, max_length=256)]
    """Their claim `iss`."""
    audience: Annotated[str, Field(min_length=1, max_length=256)]
    """Their claim `aud`: a token for another audience is refused."""
    key_file: Path | None = None
    """The public key in PEM form, or for HS256 the secret; or `jwks_file`; or `jwks_url`."""
    jwks_file: Path | None = None
    """A file with a JSON Web Key Set."""
    jwks_url: str | None = None
    """The URL of a JSON Web Key Set: https, or http on this machine."""
    algorithms: Annotated[tuple[str, ...], Field(min_length=1)] = DEFAULT_ALGORITHMS
    """The algorithms of their signatures."""
    scope_claim: str = "scope"
    """The claim with the scopes: a list, or text with spaces between them."""
    leeway: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How far the clocks may differ, in seconds."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(one is not None for one in (self.key_file, self.jwks_file, self.jwks_url)) != 1:
            raise ValueError("give one of key_file, jwks_file and jwks_url")
        if unknown := set(self.algorithms) - _ALGORITHMS:
            raise ValueError(f"{', '.join(sorted(unknown))[:80]} is not one of {', '.join(sorted(_ALGORITHMS))}")
        symmetric = {name for name in self.algorithms if name.startswith("HS")}
        if symmetric and (self.key_file is None or symmetric != set(self.algorithms)):
            raise ValueError(
                "HS256, HS384 and HS512 need key_file with the secret, and no other algorithms beside them"
            )
        return self


class AuthFile(_Entry):
    """The content of the file."""

    tokens: tuple[StaticToken, ...] = ()
    """Static tokens."""
    jwt: tuple[JwtIssuer, ...] = ()
    """Issuers of JWTs, each once."""

    @model_validator(mode="after")
    def _has_entries(self) -> Self:
        if not self.tokens and not self.jwt:
            raise ValueError("it accepts no token: add [[tokens]] or [[jwt]] entries")
        issuers = [one.issuer for one in self.jwt]
        if len(set(issuers)) < len(issuers):
            raise ValueError("an issuer has several [[jwt]] entries. Keep one")
        return self


def read_auth_file(path: Path) -> AuthFile:
    """Reads the file. Raises LanemeshError ("bad-auth-file") if it cannot be read or is invalid; the error contains no token."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise bad_auth_file(path, f"it has more than {MAX_BYTES // 1024 // 1024} MiB")
        return AuthFile.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except OSError as error:
        raise bad_auth_file(path, f"it cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise bad_auth_file(path, "it is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise bad_auth_file(path, f"it is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise bad_auth_file(path, f"{place}: {first['msg']}") from None


def bad_auth_file(path: Path, what: str) -> LanemeshError:
    """The error of a file of tokens that cannot be used."""
    message = f"the file of tokens {path}: {what}. See docs/security.md"
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-auth-file", message=message))
