"""The address at which others reach a server that listens on all addresses of its machine."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket

from lanemesh._grpc.connections import host_of

log = logging.getLogger("lanemesh.grpc")

OUTSIDE = "192.0.2.1"
"""An address of no machine (RFC 5737), by which the system says which of its own addresses leads to others. Nothing is sent."""

LOOPBACK = "127.0.0.1"


def is_unspecified(address: str) -> bool:
    """Whether "host:port" stands for all addresses of a machine, which others cannot dial: 0.0.0.0 or [::]."""
    try:
        return ipaddress.ip_address(host_of(address)).is_unspecified
    except ValueError:
        return False


async def own_address(bound: str, peer: str = "", before: str = "") -> str:
    """The address at which a peer reaches a server that listens at `bound`, as "host:port".

    It is `bound`, unless that is unspecified. Then it is this machine's address on the way to the peer, such as the address of a
    container in the network that it shares with an orchestrator. Without a way it is what the name of this machine stands for, or
    loopback, with a warning.

    Args:
        bound: "host:port" where the server listens.
        peer: "host:port" of the peer; empty: any other machine.
        before: what an earlier call returned; the warning is not repeated while that is the same.
    """
    if not is_unspecified(bound):
        return bound
    takes_ipv6 = ":" in host_of(bound)
    families = (socket.AF_INET, socket.AF_INET6) if takes_ipv6 else (socket.AF_INET,)
    found = await _on_the_way(host_of(peer) if peer else OUTSIDE, families)
    found = found or await _by_name(families, host_of(before) if before else "")
    host = f"[{found}]" if ":" in found else found
    return f"{host}:{bound.rpartition(':')[2]}"


async def _on_the_way(peer: str, families: tuple[socket.AddressFamily, ...]) -> str:
    """The address from which this machine sends to a peer; empty if there is no way."""
    for family, address in await _resolved(peer, families):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # of a datagram socket: only looks up the route
            return str(probe.getsockname()[0])
    return ""


async def _by_name(families: tuple[socket.AddressFamily, ...], before: str) -> str:
    for _, address in await _resolved(socket.gethostname(), families):
        if not ipaddress.ip_address(address).is_loopback:
            return address
    if before != LOOPBACK:
        log.warning("no address is known at which other machines reach this server; name it with --advertise HOST:PORT")
    return LOOPBACK


async def _resolved(host: str, families: tuple[socket.AddressFamily, ...]) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return []
    return [(entry[0], str(entry[4][0])) for entry in found if entry[0] in families]
