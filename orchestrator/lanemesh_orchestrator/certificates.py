"""A certificate authority for development, and the certificates that it signs."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault, LanemeshError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA = "ca"
"""The name of the files of the authority: ca.pem and ca.key."""
MESH_NAME = "lanemesh.internal"
"""A name in every certificate: with `LANEMESH_TLS_NAME` set to it, servers are reached at any address."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""Hosts in every certificate."""
ROLES = frozenset({"orchestrator", "gateway", "arbiter", "client"})
"""The roles of names that are not those of node servers."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_BEFORE = timedelta(minutes=5)
"""How far the clocks of machines may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a certificate is for."""

    name: str
    """The name of its files, and the name in its identity; also a host."""
    hosts: tuple[str, ...] = ()
    """Further hosts at which it is reached: names or IP addresses."""

    @classmethod
    def parse(cls, text: str) -> Subject:
        """The subject of "NAME" or "NAME=HOST,HOST". Raises LanemeshError ("bad-value") if it is not of this form."""
        name, _, rest = text.partition("=")
        hosts = tuple(host for host in rest.split(",") if host)
        if not _NAME.fullmatch(name) or name == CA or not all(_is_host(host) for host in hosts):
            message = (
                f'"{text[:80]}" is not the name of a certificate. Write NAME or NAME=HOST,HOST, such as worker=10.0.0.5; '
                f'"{CA}" is the authority'
            )
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-value", message=message))
        return cls(name=name, hosts=hosts)

    @property
    def identity(self) -> str:
        """Its name in the mesh: "spiffe://lanemesh/ROLE/NAME"."""
        role = self.name if self.name in ROLES else "arbiter" if self.name == "gpu-arbiter" else "node"
        return f"spiffe://lanemesh/{role}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The two files of a certificate."""

    cert: Path
    """PEM file with the certificate."""
    key: Path
    """PEM file with its private key, which only its owner can read."""
    is_new: bool
    """Whether they were written now; files that exist are kept."""


def make_certificates(folder: Path, subjects: Sequence[Subject], *, days: float = 365.0) -> list[Files]:
    """Writes the certificates of an authority in a folder. Files that exist are kept as they are; an authority that exists signs.

    Args:
        folder: is created with its parents if it is missing.
        subjects: one certificate is made for each.
        days: how long new certificates are valid; the authority ten times as long.

    Returns:
        The files of the authority, then those of each subject.

    Raises:
        LanemeshError: a file cannot be written, one of a pair is missing, the authority cannot be read, or the library
            `cryptography` is missing.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        message = (
            "certificates are made by the Python library cryptography. Install it with: pip install 'lanemesh[auth]'"
        )
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="auth-missing", message=message)) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ca = _files(folder, CA)
        if ca.is_new:
            key = ec.generate_private_key(ec.SECP256R1())
            _write(ca, key, _authority(key, 10 * days))
        authority = _load(ca)
        made = [ca]
        for subject in subjects:
            files = _files(folder, subject.name)
            if files.is_new:
                key = ec.generate_private_key(ec.SECP256R1())
                _write(files, key, _certificate(subject, key, *authority, days))
            made.append(files)
    except OSError as error:
        raise _failed(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    return made


def _files(folder: Path, name: str) -> Files:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    if cert.exists() != key.exists():
        there, missing = (cert, key) if cert.exists() else (key, cert)
        raise _failed(f"{there} exists, but {missing} does not. Restore it, or remove both")
    return Files(cert=cert, key=key, is_new=not cert.exists())


def _authority(key: EllipticCurvePrivateKey, days: float) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Lanemesh development CA")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return (
        _builder(name, name, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    subject: Subject,
    key: EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: EllipticCurvePrivateKey,
    days: float,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    hosts = dict.fromkeys((subject.name, *subject.hosts, *LOCAL_NAMES, MESH_NAME))
    names = [*map(_general_name, hosts), x509.UniformResourceIdentifier(subject.identity)]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject.name)])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(name, authority.subject, key, days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(signer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, days: float
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - _BEFORE)
        .not_valid_after(now + timedelta(days=days))
    )


def _write(files: Files, key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for path, content, mode in (
        (files.key, private, 0o600),
        (files.cert, certificate.public_bytes(Encoding.PEM), 0o644),
    ):
        # Exclusively: a file that appears meanwhile is not overwritten.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)


def _load(ca: Files) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate(ca.cert.read_bytes())
        key = load_pem_private_key(ca.key.read_bytes(), None)
    except (TypeError, ValueError) as error:
        raise _failed(f"{ca.cert} and {ca.key} cannot be read as an authority: {error}") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _failed(f"{ca.key} is not the key of {ca.cert} that `lanemesh certs` made")
    return certificate, key


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return True


def _failed(what: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-certificates", message=what))
