"""Detects node servers with the same address, and resolves addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import grpc.aio
from lanemesh._grpc.connections import dial
from lanemesh._grpc.security import Security
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import node_pb2, registry_pb2
from lanemesh.v1.node_pb2_grpc import NodeServiceStub

from lanemesh_orchestrator.registry.member import Member
from lanemesh_orchestrator.registry.registry import Registry

ANSWER_SECONDS = 3.0
"""Time limit for the process at an address to answer `Describe`."""
MAX_ADDRESSES = 256
"""Most addresses of one DNS name that are used."""


async def find_rival(registry: Registry, info: registry_pb2.ServerInfo) -> tuple[Member | None, str]:
    """Finds another member with the address of a server that joins; the two may use different names of the address.

    Returns that member and the instance id of the process that answers at the address. The id is empty if it is not known.

    Raises:
        LanemeshError: a process answers there that is neither this server nor a member that has joined.
    """
    listed = registry.at(info.address)
    if listed is not None and listed.is_process(info):
        return None, ""
    answering = await _instance_at(info.address, registry.security)
    rival = registry.at(info.address) or _of_instance(registry, answering)
    if rival is not None and rival.is_process(info):
        return None, ""
    if rival is not None and rival.static:
        rival = None  # it joins in place of that entry, if it is the process that answers
    if rival is None and answering and info.instance_id and answering != info.instance_id:
        message = (
            f'the address {info.address}, which the server "{info.name}" gives, leads to another process. Start it with an '
            "--advertise of its own"
        )
        raise LanemeshError(Fault(code=Code.ALREADY_EXISTS, reason="address-taken", message=message))
    if rival is not None and not answering and not rival.is_silent:
        answering = rival.info.instance_id  # nothing proves that the address is not that of the member, which is alive
    return rival, answering


def _of_instance(registry: Registry, instance_id: str) -> Member | None:
    return next(
        (member for member in registry.members.values() if instance_id and member.info.instance_id == instance_id), None
    )


async def _instance_at(address: str, security: Security | None) -> str:
    """The instance id of the process that answers at an address; empty if none does, or it does not give one."""
    try:
        async with dial(address, security=security) as channel:
            answer = await NodeServiceStub(channel).Describe(node_pb2.DescribeRequest(), timeout=ANSWER_SECONDS)
    except grpc.aio.AioRpcError:
        return ""
    return answer.instance_id if isinstance(answer, node_pb2.DescribeResponse) else ""


async def resolve(address: str) -> frozenset[str]:
    """The addresses, as "ip:port", of "host:port"; of many the first 256 in order. Raises OSError if it has none."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except UnicodeError:  # Python encodes a name by the rules of IDNA before it is looked up
        raise OSError("it is not a DNS name: a part between dots is empty or longer than 63 characters") from None
    plain = sorted({str(entry[4][0]) for entry in found})
    return frozenset(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in plain[:MAX_ADDRESSES])


async def addresses_of(address: str) -> frozenset[str]:
    """The resolved addresses of "host:port"; only the given address if it is numeric or cannot be resolved."""
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        try:
            return await resolve(address)
        except (OSError, ValueError):
            pass
    return frozenset({address})
