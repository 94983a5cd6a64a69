"""What to do about a connection that fails because of TLS: gRPC's own texts only say how it failed."""

from __future__ import annotations

_NOT_CONNECTED = "failed to connect"
"""Part of the texts of connections that were never there; others have broken."""
_HINTS = (
    (
        "certificate has expired",
        "The certificate of the server has expired: renew it, such as with `lanemesh certs`",
    ),
    (
        "Hostname Verification Check failed",
        "The certificate of the server is for other hosts than this address: dial one of them, make a certificate for this one, or "
        "set LANEMESH_TLS_NAME to a name in it",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "The certificate of the server is not signed by an authority that LANEMESH_TLS_CA names: set it to that of this mesh",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "The server does not use TLS: unset LANEMESH_TLS_CA, or set LANEMESH_TLS_CERT and LANEMESH_TLS_KEY for the server",
    ),
    (
        "Socket closed",
        "If the server uses TLS, set LANEMESH_TLS_CA; if it also requires a certificate, LANEMESH_TLS_CERT and LANEMESH_TLS_KEY",
    ),
)
"""Parts of the texts of gRPC, and what to do; the first one that matches counts."""


def connection_hint(details: str | None) -> str:
    """What to do about a connection that failed with these details; empty if TLS is not the cause."""
    if not details or _NOT_CONNECTED not in details:
        return ""
    return next((hint for text, hint in _HINTS if text in details), "")


def with_hint(details: str) -> str:
    """The details, and what to do about them."""
    hint = connection_hint(details)
    return f"{details}. {hint}" if hint else details
