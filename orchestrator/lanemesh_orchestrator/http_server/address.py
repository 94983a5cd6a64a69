"""The address of an HTTP server."""

from __future__ import annotations

import socket

from lanemesh._grpc.connections import is_loopback
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.reasons import Reason

BACKLOG = 1_024
"""Connections that may wait to be accepted."""


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; port 0 selects a free one. Raises LanemeshError if it is in use or invalid."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio sets TCP_NODELAY for this protocol only
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        message = f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another address or port"
        raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason=Reason.PORT_IN_USE, message=message)) from None
    bound.setblocking(False)
    return bound


def url_of(bound: socket.socket, host: str, path: str = "") -> str:
    """The URL of a server on a bound socket."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{bound.getsockname()[1]}{path}"


def require_private(host: str, token: str, *, insecure: bool) -> None:
    """Raises LanemeshError if the address is not loopback while there is neither a token nor `insecure`."""
    if token or insecure or is_loopback(host):
        return
    message = (
        f"{host} is not a loopback address, so anyone who reaches it could run the deployed pipelines. Give --token-file, or "
        "--insecure to allow it"
    )
    raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=Reason.INSECURE, message=message))
