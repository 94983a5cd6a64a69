"""The hosts that nodes may connect to: by their names, and by their addresses after the names were resolved."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from lanemesh.extend import CallFailed

_NAT64 = ip_network("64:ff9b::/96")
"""IPv6 addresses that a translator maps to IPv4 ones (RFC 6052)."""


_PROTOCOLS = ip_network("192.0.0.0/24")
"""Addresses of protocols (RFC 6890)."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the Internet: not private, loopback, link-local, shared, multicast, reserved, or an IPv6
    address that stands for such an IPv4 one."""
    parsed = ip_address(address.partition("%")[0])
    embedded = _embedded(parsed)
    if embedded is not None:
        return is_public(str(embedded))
    if getattr(parsed, "is_site_local", False) or parsed in _PROTOCOLS:
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


async def resolved(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order in which to try them.

    Raises:
        CallFailed: "unknown-host".
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CallFailed("unknown-host", f"the host {host} cannot be resolved: {error}") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def permitted_addresses(host: str, port: int, *, private: bool) -> list[str]:
    """The IP addresses of a host, for a connection to one of exactly these, so that a second resolution cannot give others.

    Args:
        host: a name or an address.
        port: the port.
        private: addresses that are not public are permitted.

    Raises:
        CallFailed: "unknown-host", or "host-not-allowed" if one of them is not public.
    """
    addresses = await resolved(host, port)
    wrong = [address for address in addresses if not private and not is_public(address)]
    if wrong or not addresses:
        what = f"has the address {wrong[0]}, which is not a public one" if wrong else "has no address"
        raise CallFailed("host-not-allowed", f"the host {host} {what}. Use a public host")
    return addresses


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if any."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    is_compatible = int(address) >> 32 == 0 and int(address) > 1  # IPv4-compatible, which is deprecated
    if address in _NAT64 or is_compatible:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
