"""Node servers, as the orchestrator knows them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lanemesh.lanes.faults import Code, Fault, LanemeshError
from lanemesh.lanes.signal import Signal
from lanemesh.v1 import node_pb2, registry_pb2

log = logging.getLogger("lanemesh.registry")


@dataclass(slots=True, eq=False)
class Member:
    """A node server that has joined."""

    info: registry_pb2.ServerInfo
    """Who it is, under the name that the registry gave it."""
    providers: frozenset[str] = field(default_factory=frozenset)
    """Node types that it can run."""
    draining: bool = False
    """It takes no new runs."""
    active_instances: int = 0
    """Components that it runs now."""


class Registry:
    """The node servers of a mesh."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.changes = Signal()
        """Fires when a server joins, drains or leaves."""

    def join(self, info: registry_pb2.ServerInfo) -> Member:
        """Adds a server under the name it would like, made unique if need be."""
        wanted = info.name or "server"
        name, number = wanted, 1
        while name in self.members:
            number += 1
            name = f"{wanted}-{number}"
        known = registry_pb2.ServerInfo()
        known.CopyFrom(info)
        known.name = name
        member = Member(known, frozenset(manifest.provider for manifest in info.manifests))
        self.members[name] = member
        log.info(
            "%s joined from %s with %s", name, known.address, ", ".join(sorted(member.providers)) or "no node types"
        )
        self.changes.fire()
        return member

    def drain(self, member: Member) -> None:
        """Gives a server no more runs."""
        if not member.draining:
            member.draining = True
            log.info("%s at %s drains: it takes no new runs", member.info.name, member.info.address)
            self.changes.fire()

    def leave(self, member: Member, why: str = "") -> None:
        """Forgets a server."""
        if self.members.get(member.info.name) is member:
            del self.members[member.info.name]
            log.info("%s at %s left%s", member.info.name, member.info.address, f": {why}" if why else "")
        self.changes.fire()

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The node types of all servers, by provider."""
        return {manifest.provider: manifest for member in self.members.values() for manifest in member.info.manifests}

    def choose(self, provider: str, homes: Iterable[str] = ()) -> Member:
        """The server for one more component of a node type: one of `homes` if it says any, else the least busy.

        Raises:
            LanemeshError: there is none, or all of them are draining.
        """
        wanted = set(homes)
        able = [
            member
            for name, member in self.members.items()
            if provider in member.providers and (not wanted or name in wanted)
        ]
        ready = [member for member in able if not member.draining]
        if not ready:
            what = "every node server that runs it is draining" if able else "no node server runs it"
            message = (
                f'there is no place for the node type "{provider}": {what}. Start one with '
                "`lanemesh node SERVICE --orchestrator ADDRESS`; `lanemesh nodes` lists node types with their services"
            )
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="no-server", message=message))
        return min(ready, key=lambda member: member.active_instances)

    def count(self, instances: Mapping[str, int], sign: int) -> None:
        """Notes that servers run so many components more, or fewer."""
        for name, number in instances.items():
            member = self.members.get(name)
            if member is not None:
                member.active_instances += sign * number

    def servers(self) -> list[registry_pb2.NodeServer]:
        """The servers, for people."""
        listed = []
        for member in self.members.values():
            info = registry_pb2.ServerInfo()
            info.CopyFrom(member.info)
            del info.manifests[:]
            listed.append(
                registry_pb2.NodeServer(
                    info=info,
                    providers=sorted(member.providers),
                    draining=member.draining,
                    active_instances=member.active_instances,
                )
            )
        return listed
