"""Polls node servers whose address or DNS name was given to the orchestrator, so that they need not join."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lanemesh._aio.backoff import Backoff
from lanemesh._grpc.connections import check_host_port, dial
from lanemesh._grpc.tls_errors import with_hint
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import node_pb2, registry_pb2
from lanemesh.v1.node_pb2_grpc import NodeServiceStub

from lanemesh_orchestrator.registry.addresses import addresses_of, resolve
from lanemesh_orchestrator.registry.member import Member
from lanemesh_orchestrator.registry.registry import Registry

CHECK_SECONDS = 5.0
"""Time between two polls of a reachable server."""
ANSWER_SECONDS = 5.0
"""Time limit of a poll."""
RETRY_SECONDS = (0.5, 10.0)
"""Bounds of the first pause and of every pause before an unreachable server is polled again."""
RESOLVE_SECONDS = 10.0
"""Time between two lookups of a DNS name."""

DNS = "dns:///"
"""Prefix of a name that represents all of its addresses."""

log = logging.getLogger("lanemesh.registry")


def check_server(target: str) -> None:
    """Raises LanemeshError unless this is "host:port" or "dns:///name:port"."""
    address = target.removeprefix(DNS)
    if ":/" in address or address.startswith(("dns:", "unix:")):
        message = f'"{target}" is not an address of a node server: write HOST:PORT, or dns:///NAME:PORT for all addresses of a name'
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-address", message=message))
    check_host_port(address)


class PolledServers:
    """Polls the servers at some addresses and updates the registry, from `start` to `close`."""

    def __init__(self, registry: Registry, targets: Sequence[str]) -> None:
        """`targets` are "host:port", or "dns:///name:port": a server at each address of the name."""
        self._registry = registry
        self._targets = list(dict.fromkeys(targets))
        self._wanted: dict[str, frozenset[str]] = {}
        """The addresses of each target."""
        self._names: list[asyncio.Task[None]] = []
        self._watches: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Starts polling."""
        for target in self._targets:
            if target.startswith(DNS):
                self._names.append(
                    asyncio.create_task(self._resolve_periodically(target), name=f"addresses of {target}")
                )
            else:
                self._set_addresses(target, frozenset({target}))

    async def close(self) -> None:
        """Stops polling, and removes the servers."""
        tasks = [*self._names, *self._watches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _set_addresses(self, target: str, addresses: frozenset[str]) -> None:
        """Sets the addresses of a target."""
        self._wanted[target] = addresses
        wanted = frozenset[str]().union(*self._wanted.values())
        for address in self._watches.keys() - wanted:
            self._watches[address].cancel()
        for address in sorted(wanted):
            watch = self._watches.get(address)
            if watch is None or watch.done() or watch.cancelling():
                self._watches[address] = asyncio.create_task(self._watch(address), name=f"node server {address}")

    async def _resolve_periodically(self, target: str) -> None:
        """Updates the addresses of a DNS name. While it has none, the name is listed as an unreachable server."""
        unknown: Member | None = None
        try:
            while True:
                try:
                    found = await resolve(target.removeprefix(DNS))
                except OSError as error:  # the servers at its earlier addresses may still run
                    if not self._wanted.get(target):
                        unknown = self._unreached(
                            target, unknown, f"the name cannot be resolved ({error.strerror or error})"
                        )
                else:
                    if unknown is not None:
                        self._registry.leave(unknown, "it has addresses now")
                        unknown = None
                    self._set_addresses(target, found)
                await asyncio.sleep(RESOLVE_SECONDS)
        finally:
            if unknown is not None:
                self._registry.leave(unknown)

    async def _watch(self, address: str) -> None:
        """Polls the server of one address until cancelled."""
        member: Member | None = None
        backoff = Backoff(*RETRY_SECONDS)
        try:
            while True:
                try:
                    # A new connection after each failure: the files of TLS may be others by then.
                    async with dial(address, security=self._registry.security) as channel:
                        while True:
                            if await self._has_joined(address, member):
                                member = None
                                await asyncio.sleep(CHECK_SECONDS)
                                continue
                            found = await _poll(address, channel)
                            if self._joined_meanwhile(address):
                                continue
                            member = self._reached(member, *found)
                            backoff.reset()
                            await asyncio.sleep(CHECK_SECONDS)
                except LanemeshError as error:
                    if self._joined_meanwhile(address):
                        continue
                    member = self._unreached(address, member, error.fault.message)
                    await asyncio.sleep(backoff.next())
        finally:
            if member is not None:
                self._registry.leave(member)

    async def _has_joined(self, address: str, own: Member | None) -> bool:
        """Whether the server of an address has joined by itself, possibly under another name of the address. Removes the static
        entry then, so that the server is listed once."""
        others = [member for member in self._registry.members.values() if not member.static]
        known = await addresses_of(address) if others else frozenset()
        for member in others:
            if member.info.address == address or known & await addresses_of(member.info.address):
                if own is not None:
                    self._registry.leave(own, f"it has joined as {member.name}")
                return True
        return False

    def _joined_meanwhile(self, address: str) -> bool:
        """Whether the server of an address has joined by itself during the poll."""
        member = self._registry.at(address)
        return member is not None and not member.static

    def _reached(self, member: Member | None, info: registry_pb2.ServerInfo, is_serving: bool) -> Member:
        changed = (
            member is None
            or (member.draining and is_serving)
            or list(member.info.manifests) != list(info.manifests)
            or list(member.info.features) != list(info.features)
        )
        if changed or member is None:
            member = self._registry.join(info, static=True)
        self._registry.find(member)
        if not is_serving:
            self._registry.drain(member)
        return member

    def _unreached(self, address: str, member: Member | None, why: str) -> Member:
        if member is None:
            info = registry_pb2.ServerInfo(name=address, address=address, protocol_version=PROTOCOL_VERSION)
            return self._registry.join(info, static=True, unreachable=why)
        self._registry.lose(member, why)
        return member


async def _poll(address: str, channel: grpc.aio.Channel) -> tuple[registry_pb2.ServerInfo, bool]:
    """The description of a server, and whether it accepts runs. Raises LanemeshError if it cannot be used."""
    try:
        answer = await NodeServiceStub(channel).Describe(node_pb2.DescribeRequest(), timeout=ANSWER_SECONDS)
        health = await _health(channel)
    except grpc.aio.AioRpcError as error:
        why = with_hint(error.details() or error.code().name).rpartition("last error: ")[2]
        raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="unreachable", message=why)) from None
    if not isinstance(answer, node_pb2.DescribeResponse):  # gRPC has logged the reason
        raise LanemeshError(Fault(code=Code.INTERNAL, reason="bad-server", message="its answer cannot be read"))
    info = registry_pb2.ServerInfo(
        name=address,
        address=address,
        protocol_version=answer.protocol_version,
        manifests=answer.manifests,
        software_version=answer.software_version,
        features=answer.features,
        instance_id=answer.instance_id,
    )
    return info, health != health_pb2.HealthCheckResponse.NOT_SERVING


async def _health(channel: grpc.aio.Channel) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
    """The health that the server reports; unknown if it has no health service."""
    try:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
            raise
        return health_pb2.HealthCheckResponse.UNKNOWN
    status: health_pb2.HealthCheckResponse.ServingStatus.ValueType = answer.status
    return status
