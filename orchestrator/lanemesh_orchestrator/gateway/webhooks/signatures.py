"""Signatures of webhooks: that of GitHub, and that of Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.reasons import Reason

GITHUB = "x-hub-signature-256"
"""The header with GitHub's signature: "sha256=" and an HMAC in hexadecimal digits."""
TOLERANCE_SECONDS = 300.0
"""How far the time of a signature of Standard Webhooks may be from the present."""
MAX_SIGNATURES = 10
"""Most signatures that one request may have, such as those of an old and a new secret."""
PREFIX = "whsec_"
"""How a secret of Standard Webhooks begins; base64 follows."""


def check_signature(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """Checks that a request was signed with a secret.

    Args:
        headers: its headers, by their names in lower case.
        body: its whole body.
        secret: the secret.
        now: the present time in seconds since 1970.

    Raises:
        LanemeshError: no signature is there, or it is wrong or too old ("bad-signature").
    """
    if GITHUB in headers:
        expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(headers[GITHUB].strip().lower().encode(), expected.encode()):
            return
        raise _rejected("the signature in X-Hub-Signature-256 is not that of this body and the secret of the webhook")
    if "webhook-signature" in headers:
        _check_standard(headers, body, secret, now)
        return
    raise _rejected(
        "this webhook requires a signature. Send X-Hub-Signature-256, or webhook-id, webhook-timestamp and webhook-signature"
    )


def _check_standard(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    time, identity = headers.get("webhook-timestamp", ""), headers.get("webhook-id", "")
    is_time = time.isascii() and time.isdecimal() and len(time) < 13
    if not identity or not is_time or abs(now - int(time)) > TOLERANCE_SECONDS:
        raise _rejected(
            "the request needs webhook-id, and webhook-timestamp with the present time in seconds since 1970, within 5 minutes"
        )
    digest = hmac.new(key_of(secret), f"{identity}.{time}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    given = headers["webhook-signature"].split()[:MAX_SIGNATURES]
    if not any(hmac.compare_digest(one.encode(), expected) for one in given):
        raise _rejected("no signature in webhook-signature is that of this body and the secret of the webhook")


def key_of(secret: str) -> bytes:
    """The key of a secret for Standard Webhooks: what follows "whsec_", in base64, or the text itself. Raises ValueError if that is
    not base64."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"after {PREFIX} follows no base64") from None


def _rejected(message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.UNAUTHENTICATED, reason=Reason.BAD_SIGNATURE, message=message))
