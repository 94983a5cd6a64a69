"""Which servers have the same address, and which process answers there."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import grpc.aio
from lanemesh._grpc.connections import dial
from lanemesh.v1 import node_pb2, registry_pb2
from lanemesh.v1.node_pb2_grpc import NodeServiceStub

from lanemesh_orchestrator.registry.registry import Member, Registry

ANSWER_SECONDS = 3.0
"""How long the process at an address may take to answer which one it is."""
MAX_ADDRESSES = 256
"""Most addresses of one DNS name that are used."""


async def find_rival(registry: Registry, info: registry_pb2.ServerInfo) -> tuple[Member | None, str]:
    """The server that has joined with the address of another one, perhaps by another name of it, and the instance id of the process
    that answers there; empty if that is not known."""
    rival = registry.at(info.address) or await _same_place(registry, info)
    if rival is None or rival.static or rival.is_process(info):
        return None, ""
    answering = await _instance_at(info.address)
    return (rival, answering) if registry.members.get(rival.name) is rival else (None, "")


async def _same_place(registry: Registry, info: registry_pb2.ServerInfo) -> Member | None:
    port = info.address.rpartition(":")[2]
    others = [
        member
        for member in registry.members.values()
        if not member.static and member.info.address.rpartition(":")[2] == port
    ]
    own = await addresses_of(info.address) if others else frozenset()
    for member in others:
        if own & await addresses_of(member.info.address):
            return member
    return None


async def _instance_at(address: str) -> str:
    """The instance id of the process that answers at an address; empty if none does, or it does not give one."""
    try:
        async with dial(address) as channel:
            answer = await NodeServiceStub(channel).Describe(node_pb2.DescribeRequest(), timeout=ANSWER_SECONDS)
    except grpc.aio.AioRpcError:
        return ""
    return answer.instance_id if isinstance(answer, node_pb2.DescribeResponse) else ""


async def resolve(address: str) -> frozenset[str]:
    """The addresses, as "ip:port", of "host:port"; of many the first 256 in order. Raises OSError if it has none."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    plain = sorted({str(entry[4][0]) for entry in found})
    return frozenset(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in plain[:MAX_ADDRESSES])


async def addresses_of(address: str) -> frozenset[str]:
    """The same; the address itself where there is nothing to resolve, or that fails."""
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        try:
            return await resolve(address)
        except (OSError, ValueError):
            pass
    return frozenset({address})
