"""What a gRPC server bears: the sizes of messages, numbers of connections and calls, and times. Each limit is a setting."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import MAX_MESSAGE_BYTES
from lanemesh.rendering import rendered

LIMITS_VARIABLE = "LANEMESH_LIMITS"
"""The environment variable with limits of the servers of a process, as NAME=VALUE, separated by commas or spaces."""
WANTED_FILES = 65_536
"""How many files a server process asks the system for, at most."""
OWN_FILES = 256
"""Files that a server keeps for its own work, beside those of connections."""
_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a gRPC server. A call over a limit fails with RESOURCE_EXHAUSTED; the server and other calls go on."""

    message_bytes: int = MAX_MESSAGE_BYTES
    """Size of a message that the server receives."""
    metadata_bytes: int = 16 * 1024
    """Size of all metadata of a call, tokens included."""
    streams_per_connection: int = 16_000
    """Calls at a time on one connection."""
    connections: int = 10_000
    """Connections at a time; fewer if the system permits the process fewer files. Further ones are closed."""
    calls: int = 20_000
    """Calls at a time."""
    calls_per_caller: int = 5_000
    """Calls at a time with tokens of one subject; 0: only `calls` limits them."""
    runs_per_caller: int = 1_000
    """Active runs that were started with tokens of one subject; 0: no limit."""
    handshake_seconds: float = 20.0
    """How long a new connection may take until it speaks TLS and HTTP/2."""
    first_frame_seconds: float = 30.0
    """How long a new stream may take to send its first frame. It fails with DEADLINE_EXCEEDED."""

    @classmethod
    def of(cls, texts: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> Limits:
        """The limits that texts such as "message-bytes=4194304" and the variable LANEMESH_LIMITS set; later ones take precedence.

        Raises:
            LanemeshError: there is no such limit, or its value is out of range ("bad-limit").
        """
        given = [*environment.get(LIMITS_VARIABLE, "").replace(",", " ").split(), *texts]
        return replace(DEFAULT, **dict(map(_setting, given))) if given else DEFAULT

    @property
    def own_connections(self) -> int:
        """Connections at a time, within the files that the system permits this process."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self.connections if files == resource.RLIM_INFINITY else max(1, min(self.connections, files - OWN_FILES))

    def options(self) -> list[tuple[str, int]]:
        """The options of a gRPC server with these limits."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes),
            (
                "grpc.max_metadata_size",
                self.metadata_bytes,
            ),  # from here on gRPC refuses some calls at random, and all from
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),  # here on
            ("grpc.max_concurrent_streams", self.streams_per_connection),
            ("grpc.max_allowed_incoming_connections", self.own_connections),
            ("grpc.server_handshake_timeout_ms", round(self.handshake_seconds * 1000)),
        ]


DEFAULT = Limits()

_RANGES: Mapping[str, tuple[float, float]] = {
    "message_bytes": (2 * 1024 * 1024, MAX_MESSAGE_BYTES),  # pieces of media have 1 MiB
    "metadata_bytes": (8 * 1024, 1024 * 1024),  # what our own errors need
    "streams_per_connection": (100, 1_000_000),  # a peer has 64 lanes on one connection, and its other calls
    "connections": (1, 1_000_000),
    "calls": (1, 1_000_000),
    "calls_per_caller": (0, 1_000_000),
    "runs_per_caller": (0, 1_000_000),
    "handshake_seconds": (0.1, 3600),
    "first_frame_seconds": (0.1, 3600),
}
"""The least and the greatest value of each limit."""


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    field = name.strip().replace("-", "_")
    names = ", ".join(one.name.replace("_", "-") for one in fields(Limits))
    if not equals or field not in _RANGES:
        raise _bad(f"{rendered(text, _SHOWN)} is not a limit: write NAME=VALUE; the names are {names}")
    least, greatest = _RANGES[field]
    number = float("nan")
    with contextlib.suppress(ValueError):
        number = float(value) if field.endswith("seconds") else int(value)
    if not least <= number <= greatest:
        raise _bad(f"the limit {rendered(text, _SHOWN)} is out of range: it has to be {least:,} to {greatest:,}")
    return field, number


def _bad(message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-limit", message=message))


def raise_file_limit() -> None:
    """Lets this process open as many files as the system permits it, up to 65,536: each connection needs one. Only for processes
    that are servers and nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
