"""How the connections of a process are protected: the files of TLS, the token that it sends, and the tokens that it accepts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lanemesh.faults import Code, Fault, LanemeshError

SYSTEM_ROOTS = "system"
"""The value of `LANEMESH_TLS_CA` for the certificate authorities of the system."""
CERT, KEY, CA, NAME = "LANEMESH_TLS_CERT", "LANEMESH_TLS_KEY", "LANEMESH_TLS_CA", "LANEMESH_TLS_NAME"
MTLS, AUTH = "LANEMESH_MTLS", "LANEMESH_AUTH"
TOKEN, TOKEN_FILE = "LANEMESH_TOKEN", "LANEMESH_TOKEN_FILE"
VARIABLES = (CERT, KEY, CA, NAME, MTLS, AUTH, TOKEN, TOKEN_FILE)
"""The environment variables of these settings."""
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The settings of a process. Files are read when a connection or a server needs them, and again when they have changed."""

    cert: Path | None = None
    """PEM file with the certificate of this process, and any intermediate ones. Servers with one listen with TLS; clients send it
    to servers that require one."""
    key: Path | None = None
    """PEM file with the private key of that certificate."""
    ca: Path | str = ""
    """PEM file with the certificate authorities that verify peers, or "system". If it is set, this process dials with TLS."""
    server_name: str = ""
    """The name that the certificates of servers are checked for; empty: the host of the dialled address."""
    mtls: bool = False
    """A server requires clients to have a certificate of `ca`."""
    auth: Path | None = None
    """TOML file with the tokens that servers of this process accept; None: they require none."""
    token: str = field(default="", repr=False)
    """The bearer token that this process sends; empty: that of `token_file`."""
    token_file: Path | None = None
    """The file with that token, which is read again when it has changed."""
    forwards_tokens: bool = False
    """Calls carry the token of `token_of_caller` instead, where there is one: this process passes calls on for others."""

    def __post_init__(self) -> None:
        """Raises LanemeshError ("bad-security") for settings that contradict each other."""
        if (self.cert is None) != (self.key is None):
            has, lacks = ("certificate", KEY) if self.key is None else ("private key", CERT)
            raise bad_security(f"there is a {has} for TLS, but {lacks} is not set. Set both, or neither")
        if self.mtls and (self.cert is None or not isinstance(self.ca, Path)):
            raise bad_security(
                f"{MTLS} is set, which needs {CERT}, {KEY}, and in {CA} a file with the authorities of the clients' certificates. "
                "`lanemesh certs DIR` makes them"
            )
        if self.token and self.token_file is not None:
            raise bad_security(f"{TOKEN} and {TOKEN_FILE} are both set. Set one of them")
        check_token(self.token, TOKEN)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Security:
        """The settings of the environment variables `LANEMESH_TLS_CERT`, `LANEMESH_TLS_KEY`, `LANEMESH_TLS_CA`,
        `LANEMESH_TLS_NAME`, `LANEMESH_MTLS`, `LANEMESH_AUTH`, `LANEMESH_TOKEN` and `LANEMESH_TOKEN_FILE`.

        Raises:
            LanemeshError: they contradict each other ("bad-security").
        """
        given = os.environ if environment is None else environment
        if not any(map(given.get, VARIABLES)):
            return OPEN

        def path(name: str) -> Path | None:
            return Path(given[name]) if given.get(name) else None

        ca = given.get(CA, "")
        return cls(
            cert=path(CERT),
            key=path(KEY),
            ca=Path(ca) if ca and ca != SYSTEM_ROOTS else ca,
            server_name=given.get(NAME, ""),
            mtls=_flag(MTLS, given.get(MTLS, "")),
            auth=path(AUTH),
            token=given.get(TOKEN, "").strip(),
            token_file=path(TOKEN_FILE),
        )

    @property
    def serves_tls(self) -> bool:
        """Whether servers listen with TLS."""
        return self.cert is not None

    @property
    def dials_tls(self) -> bool:
        """Whether connections to servers use TLS."""
        return bool(self.ca)

    @property
    def is_authenticated(self) -> bool:
        """Whether servers know who calls: by tokens, or by certificates of clients."""
        return self.auth is not None or self.mtls

    def for_client(self, token: str | None, tls: bool | str | Path | None) -> Security:
        """The settings of a client.

        Args:
            token: the token that it sends; None: that of these settings; empty: none.
            tls: None: as in these settings; True: TLS with the authorities of these settings, or else those of the system; a path:
                with those of a PEM file; False: no TLS.
        """
        settings = self
        if token is not None:
            check_token(token, "token=")
            settings = replace(settings, token=token, token_file=None)
        if tls is True:
            return replace(settings, ca=settings.ca or SYSTEM_ROOTS)
        if tls is False:
            return replace(settings, ca="", mtls=False)
        return settings if tls is None else replace(settings, ca=Path(tls))

    def for_local_mesh(self) -> Security:
        """The settings of a mesh whose processes all start here. What is set only for connections to others does not apply."""
        return self if self.serves_tls or self.auth is not None else OPEN

    def environment(self) -> dict[str, str]:
        """The environment variables that give a started process these settings, empty ones included."""
        values = (
            *(self.cert, self.key, self.ca, self.server_name, "1" if self.mtls else "", self.auth, self.token),
            self.token_file,
        )
        return {name: "" if value is None else str(value) for name, value in zip(VARIABLES, values, strict=True)}


def bad_security(what: str) -> LanemeshError:
    """The error of settings that contradict each other, or of a file that cannot be used."""
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-security", message=what))


def check_token(token: str, where: str) -> None:
    """Raises LanemeshError unless a token can be sent in a header; the error does not contain it."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise bad_security(f"the token of {where} has characters that no header carries. Use visible ASCII characters")


def _flag(name: str, value: str) -> bool:
    if value.lower() not in _YES | _NO:
        raise bad_security(f"{name} is neither 1 nor 0. Set it to 1, or remove it")
    return value.lower() in _YES


OPEN = Security()
"""No TLS and no tokens."""
