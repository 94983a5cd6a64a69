"""Ports for servers that start later, or again at the same address."""

from __future__ import annotations

import random
import socket
from functools import cache
from pathlib import Path

FIRST = 10_000
"""The smallest port."""
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

_RANDOM = random.SystemRandom()
"""Forked processes choose different ports."""
_given: set[int] = set()


def free_port() -> int:
    """A port without a server on 127.0.0.1. The system gives it to no other program meanwhile, as neither a connection nor a server
    on any free port gets one below its range of ephemeral ports; and no other call in this process returns it."""
    while True:
        port = _RANDOM.randrange(FIRST, _first_ephemeral())
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


@cache
def _first_ephemeral() -> int:
    first = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32_768
    return max(first, 2 * FIRST)  # on a system that gives out nearly all ports, any will do
