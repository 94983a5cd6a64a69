"""The certificates of connections: read from PEM files, and again when these have changed, without a restart."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import grpc

from lanemesh._grpc.security import CA, CERT, KEY, SYSTEM_ROOTS, Security, bad_security

MAX_BYTES = 4 * 1024 * 1024
"""Largest file of certificates that is read; the authorities of a system take a quarter of a megabyte."""

log = logging.getLogger("lanemesh.tls")


class ServerCertificates:
    """The certificates of a server. Each new connection gets those that are in the files by then.

    If changed files cannot be used, such as a certificate whose key has not been replaced yet, the server keeps those before, and
    logs a warning.
    """

    def __init__(self, security: Security) -> None:
        """Reads the files. Raises LanemeshError ("bad-security") if they cannot be used."""
        assert security.cert is not None, "the server has a certificate"
        assert security.key is not None, "which has a key"
        self._cert, self._key = security.cert, security.key
        self._ca = security.ca if security.mtls and isinstance(security.ca, Path) else None
        self._lock = threading.Lock()
        self._stamp = self._stamps()
        self._current = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """The credentials of a port. With mTLS they require a certificate of the client."""
        credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            self._current, self._newest, require_client_authentication=self._ca is not None
        )
        return credentials

    def _newest(self) -> Any:
        """Called in a thread of gRPC at each handshake; None: nothing has changed."""
        with self._lock:
            stamp = self._stamps()
            if stamp == self._stamp:
                return None
            self._stamp = stamp  # files that cannot be used are reported once
            try:
                self._current = self._read()
            except Exception as error:
                log.warning("the changed files of TLS are not used: %s", error)
                return None
            log.info("the certificates in %s are used from now on", self._cert)
            return self._current

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._cert, self._key, self._ca) if path is not None)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        cert, key = read_pem(self._cert, CERT), read_pem(self._key, KEY)
        _check_pair(self._cert, self._key)
        roots = read_pem(self._ca, CA) if self._ca is not None else None
        return grpc.ssl_server_certificate_configuration([(key, cert)], roots)


def channel_credentials(security: Security) -> grpc.ChannelCredentials:
    """The credentials of a new connection, of what is in the files now. Raises LanemeshError ("bad-security") if they cannot be
    used."""
    roots = read_pem(security.ca, CA) if isinstance(security.ca, Path) else None
    assert roots is not None or security.ca == SYSTEM_ROOTS, "the connection uses TLS"
    key = cert = None
    if security.cert is not None and security.key is not None:
        cert, key = read_pem(security.cert, CERT), read_pem(security.key, KEY)
        _check_pair(security.cert, security.key)
    credentials: grpc.ChannelCredentials = grpc.ssl_channel_credentials(roots, key, cert)
    return credentials


def name_options(security: Security) -> list[tuple[str, str]]:
    """The options of a connection whose server has a certificate for another name than the host of its address."""
    return [("grpc.ssl_target_name_override", security.server_name)] if security.server_name else []


def read_pem(path: Path, variable: str) -> bytes:
    """The content of a PEM file. Raises LanemeshError if it cannot be read, is none, or is larger than 4 MiB."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise bad_security(f"{path}, which {variable} names, cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise bad_security(f"{path}, which {variable} names, has more than {MAX_BYTES // 1024 // 1024} MiB")
    if b"-----BEGIN " not in content:
        raise bad_security(f"{path}, which {variable} names, is not a PEM file. `lanemesh certs DIR` makes such files")
    return content


def _check_pair(cert: Path, key: Path) -> None:
    """Raises LanemeshError unless these are a certificate and its key: gRPC itself would fail later, and only log why."""
    import ssl

    try:
        # A password is never asked for: that would wait for the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or str(error)
        raise bad_security(
            f"{cert} and {key} are not a certificate and its private key without a password ({why})"
        ) from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
