"""What a mesh with locked doors needs: certificates, tokens, and the settings of its processes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lanemesh._grpc.security import Security
from lanemesh_orchestrator.certificates import Subject, make_certificates

TOKENS: Mapping[str, Sequence[str]] = {
    "node": ("node",),
    "runner": ("run",),
    "other": ("run",),
    "deployer": ("deploy",),
    "watcher": ("watch",),
    "admin": ("admin",),
    "all": ("run", "deploy", "watch", "admin", "node"),
    "nothing": (),
}
"""The scopes of the static tokens, by their names."""
ISSUER, AUDIENCE = "https://id.example", "lanemesh-tests"
"""The issuer of the JWTs, and their audience."""


class Doors:
    """The files of a mesh: an authority, certificates, and accepted tokens."""

    def __init__(self, folder: Path) -> None:
        """Writes them in a folder."""
        self.folder = folder
        self.certs = folder / "certs"
        self.auth = folder / "auth.toml"
        self.certify("orchestrator", "node", "client")
        self.jwt_key = generate_private_key(SECP256R1())
        public = self.jwt_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "jwt.pem").write_bytes(public)
        self.write_tokens(TOKENS)

    def certify(self, *names: str, days: float = 30.0) -> None:
        """Makes certificates with these names that are valid for some days; fewer than none: they have expired."""
        make_certificates(self.certs, [Subject.parse(name) for name in names], days=days)

    def write_tokens(self, tokens: Mapping[str, Sequence[str]], *, audience: str = AUDIENCE) -> None:
        """Writes the file of accepted tokens."""
        lines = [
            f"[[tokens]]\nname = {json.dumps(name)}\ntoken = {json.dumps(self.token(name))}\n"
            f"scopes = {json.dumps(list(scopes))}\n"
            for name, scopes in tokens.items()
        ]
        issuer = (
            f'[[jwt]]\nissuer = "{ISSUER}"\naudience = "{audience}"\nkey_file = "jwt.pem"\nalgorithms = ["ES256"]\n'
        )
        self.auth.write_text("\n".join([*lines, issuer]))

    def token(self, name: str) -> str:
        """The static token with this name."""
        return f"token-of-{name}-0123456789"

    def jwt(self, scope: Any = "run", *, key: EllipticCurvePrivateKey | None = None, **claims: Any) -> str:
        """A JWT of the issuer, valid for a minute, with other claims as they are given."""
        own = {"iss": ISSUER, "aud": AUDIENCE, "sub": "jane", "exp": time.time() + 60, "scope": scope}
        return jwt.encode({**own, **claims}, key or self.jwt_key, algorithm="ES256")

    def tls(self, name: str = "client", *, mtls: bool = False) -> Security:
        """Settings with the certificate of this name, without tokens."""
        return Security(
            cert=self.certs / f"{name}.pem", key=self.certs / f"{name}.key", ca=self.certs / "ca.pem", mtls=mtls
        )

    def locked(self, name: str, token: str = "node") -> Security:
        """Settings of a server or a client with mTLS, which accepts the tokens, and sends one of them."""
        sent = self.token(token) if token else ""
        return replace(self.tls(name, mtls=True), auth=self.auth, token=sent)

    def tokens_only(self, token: str = "") -> Security:
        """Settings without TLS: what servers accept, and one of these tokens."""
        return Security(auth=self.auth, token=self.token(token) if token else "")
