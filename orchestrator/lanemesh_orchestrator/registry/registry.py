"""Node servers, as the orchestrator knows them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

from lanemesh._aio.signal import Signal
from lanemesh.v1 import node_pb2, registry_pb2

from lanemesh_orchestrator.registry.manifests import agree, check
from lanemesh_orchestrator.scheduling.requirements import Requirement, least_loaded

log = logging.getLogger("lanemesh.registry")


@dataclass(slots=True, weakref_slot=True)
class Load:
    """The components of this orchestrator's runs on a server, kept if it joins again."""

    instances: int = 0


@dataclass(slots=True, eq=False)
class Member:
    """A node server that has joined, or whose address was given to the orchestrator."""

    info: registry_pb2.ServerInfo
    """Its description, with the name that the registry gave it."""
    load: Load = field(default_factory=Load)
    static: bool = False
    """Its address was given to the orchestrator; it has not joined by itself."""
    draining: bool = False
    """It accepts no new runs."""
    unreachable: str = ""
    """Why it cannot be used, in words; empty if it can."""
    manifests: Mapping[str, node_pb2.Manifest] = field(init=False)
    """Node types that it has, by provider."""
    conflicts: Mapping[str, str] = field(default_factory=dict)
    """Node types that it offers with another manifest than the one in force, each with whose that is."""

    def __post_init__(self) -> None:
        self.manifests = {manifest.provider: manifest for manifest in self.info.manifests}

    @property
    def name(self) -> str:
        """Its name in the mesh."""
        return self.info.name

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels by which components select it."""
        return self.info.labels

    @property
    def features(self) -> Collection[str]:
        """The supported optional features of the protocol."""
        return self.info.features

    @property
    def active_instances(self) -> int:
        """Number of components of this orchestrator's runs there."""
        return self.load.instances

    @property
    def max_instances(self) -> int:
        """Maximum number of concurrent components; 0: any number."""
        return self.info.max_instances

    @property
    def closed_because(self) -> str:
        """Why it accepts no new runs; empty if it does."""
        if self.unreachable and self.static:
            return f"cannot be reached: {self.unreachable}"
        return "is draining" if self.draining else ""

    @property
    def is_silent(self) -> bool:
        """It has joined, but has sent nothing for a while: it may have ended, or be very busy."""
        return bool(self.unreachable) and not self.static

    def runs(self, provider: str) -> bool:
        """It has the node type, as the manifest in force describes it."""
        return provider in self.manifests and provider not in self.conflicts

    def listed(self) -> registry_pb2.NodeServer:
        """The server, for people."""
        told = registry_pb2.NodeServer(
            info=self.info,
            providers=sorted(self.manifests),
            draining=self.draining,
            active_instances=self.active_instances,
            health=registry_pb2.SERVER_HEALTH_SERVING,
            health_detail=self.unreachable,
            conflicting_providers=sorted(self.conflicts),
            static=self.static,
        )
        del told.info.manifests[:]
        if self.unreachable:
            told.health = registry_pb2.SERVER_HEALTH_UNREACHABLE
        elif self.draining:
            told.health = registry_pb2.SERVER_HEALTH_DRAINING
        return told


class Registry:
    """The node servers of a mesh."""

    def __init__(self, own: Callable[[], Iterable[node_pb2.Manifest]] = tuple) -> None:
        """`own` returns the node types that the orchestrator runs itself; those of servers never replace them. It is called once,
        at the first use."""
        self.members: dict[str, Member] = {}
        """By name, in the order of joining."""
        self.changes = Signal()
        """Fires when a server joins, drains, becomes unreachable or reachable, leaves, or has new capacity."""
        self.version = 0
        """Incremented by each of these except the last."""
        self._ask_own = own
        self._manifests: dict[str, node_pb2.Manifest] | None = None
        self._loads: WeakValueDictionary[str, Load] = WeakValueDictionary()

    def join(self, info: registry_pb2.ServerInfo, *, static: bool = False, unreachable: str = "") -> Member:
        """Adds a server under its requested name, made unique if necessary. A server with the address of a known one has joined
        again, and replaces that entry. `static`: it has not joined by itself; `unreachable` is the reason why it cannot be used
        yet.

        Raises:
            LanemeshError: its address or one of its manifests is invalid.
        """
        check(info)
        before = self.at(info.address)
        if before is not None:
            self.leave(before, "it joined again")
        wanted = info.name or "server"
        name, number = wanted, 1
        while name in self.members:
            number += 1
            name = f"{wanted}-{number}"
        known = registry_pb2.ServerInfo()
        known.CopyFrom(info)
        known.name = name
        load = self._loads.get(info.address) or Load()
        self._loads[info.address] = load
        member = self.members[name] = Member(known, load, static, unreachable=unreachable)
        if unreachable:
            log.warning("%s cannot be reached: %s; retrying", name, unreachable)
        else:
            providers = ", ".join(sorted(member.manifests)) or "no node types"
            log.info("%s %s %s with %s", name, "is found at" if static else "joined from", known.address, providers)
        self._changed()
        return member

    def at(self, address: str) -> Member | None:
        """The server of an address."""
        return next((member for member in self.members.values() if member.info.address == address), None)

    def drain(self, member: Member) -> None:
        """Assigns no more runs to a server."""
        if not member.draining:
            member.draining = True
            log.info("%s at %s drains: it accepts no new runs", member.info.name, member.info.address)
            self._changed()

    def lose(self, member: Member, why: str) -> None:
        """Marks a server as unreachable: it gets no more runs until it is reachable again. A silent server that has joined gets
        only runs that no other one can host."""
        if member.unreachable != why and self.members.get(member.info.name) is member:
            if not member.unreachable:
                log.warning("%s at %s cannot be reached: %s", member.info.name, member.info.address, why)
            member.unreachable = why
            self._changed()

    def find(self, member: Member) -> None:
        """Marks a server as reachable again."""
        if member.unreachable:
            log.info("%s at %s can be reached again", member.info.name, member.info.address)
            member.unreachable = ""
            self._changed()

    def leave(self, member: Member, why: str = "") -> None:
        """Removes a server."""
        if self.members.get(member.info.name) is member:
            del self.members[member.info.name]
            log.info("%s at %s left%s", member.info.name, member.info.address, f": {why}" if why else "")
        self._changed()

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The node types of the mesh, by provider: the orchestrator's own, and for each other one the manifest of the server that
        joined first."""
        if self._manifests is None:
            self._manifests = self._own
        return dict(self._manifests)

    def choose(
        self,
        provider: str,
        *,
        labels: Mapping[str, str] | None = None,
        without: Collection[str] = (),
        component: str = "",
    ) -> Member:
        """The server for one more component of a node type: the least busy one with all of `labels`, none of the names `without`. A
        caller that places it there calls `take`.

        Raises:
            NoServer: there is none that accepts runs.
            NoCapacity: they are full.
        """
        want = Requirement(component or provider, provider, labels or {})
        return least_loaded([want], self.members.values(), without=without)[want.component]

    def take(self, load: Load, instances: int) -> None:
        """Adds a number of components to the load of a server; negative: removes them."""
        load.instances += instances
        if instances < 0:
            self.changes.fire()

    def servers(self) -> list[registry_pb2.NodeServer]:
        """The servers, for people."""
        return [member.listed() for member in self.members.values()]

    @cached_property
    def _own(self) -> dict[str, node_pb2.Manifest]:
        return {manifest.provider: manifest for manifest in self._ask_own()}

    def _changed(self) -> None:
        in_order = sorted(self.members.values(), key=lambda member: member.static and bool(member.unreachable))
        self._manifests, conflicts = agree(self._own, [(member.name, member.manifests) for member in in_order])
        for name, member in self.members.items():
            found = conflicts.get(name, {})
            for provider in found.keys() - member.conflicts.keys():
                log.warning(
                    '%s at %s offers the node type "%s" with another manifest than %s, which joined earlier: it is not used for '
                    "it. Start the same version of its service on both",
                    *(name, member.info.address, provider, found[provider]),
                )
            member.conflicts = found
        self.version += 1
        self.changes.fire()
