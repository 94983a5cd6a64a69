"""Node servers, as the orchestrator knows them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

from lanemesh._aio.signal import Signal
from lanemesh.faults import LanemeshError
from lanemesh.v1 import node_pb2, registry_pb2

from lanemesh_orchestrator.registry.manifests import ORCHESTRATOR, agree, check, replacements
from lanemesh_orchestrator.scheduling.requirements import Requirement, least_loaded

LOCAL = "orchestrator"
"""Name of the orchestrator's own host, which no server gets."""
MAX_WARNINGS = 16
"""Warnings that wait to be sent to a server; older ones are dropped."""

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
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Node types for which a newer server is used, each with that server."""
    rival: Member | None = None
    """The server that is used at its address in its place; None: it is used itself."""
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_WARNINGS))
    """To be sent to the server, for its log."""
    news: Signal = field(default_factory=Signal)
    """Fires when there is a warning, or the name has changed."""

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

    @property
    def shown(self) -> str:
        """It, for logs and errors about its address."""
        pid = f", pid {self.info.pid}" if self.info.pid else ""
        return f'"{self.name}" ({self.info.address}{pid})'

    def warn(self, text: str) -> None:
        """Sends a warning to the server, for its log."""
        self.warnings.append(text)
        self.news.fire()

    @property
    def started_at(self) -> int:
        """When its process was started, in nanoseconds since 1970; 0: not known."""
        return self.info.started_at.ToNanoseconds()

    def is_process(self, info: registry_pb2.ServerInfo) -> bool:
        """Whether this is the same process; False if that is not known."""
        return bool(info.instance_id) and info.instance_id == self.info.instance_id

    def runs(self, provider: str) -> bool:
        """It has the node type, as the manifest in force describes it."""
        return provider in self.manifests and provider not in self.conflicts and provider not in self.replaced

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
            replaced_providers=sorted(self.replaced),
            static=self.static,
        )
        del told.info.manifests[:]
        if self.unreachable:
            told.health = registry_pb2.SERVER_HEALTH_UNREACHABLE
        elif self.draining:
            told.health = registry_pb2.SERVER_HEALTH_DRAINING
        if self.rival is not None:
            told.health = registry_pb2.SERVER_HEALTH_UNREACHABLE
            told.health_detail = _address_clash(self.rival)
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
        self._held_back: list[Member] = []
        """Servers that have joined with the address of another one, which is used; the newest last."""
        self._ask_own = own
        self._manifests: dict[str, node_pb2.Manifest] | None = None
        self._loads: WeakValueDictionary[str, Load] = WeakValueDictionary()

    def join(
        self,
        info: registry_pb2.ServerInfo,
        *,
        static: bool = False,
        unreachable: str = "",
        rival: Member | None = None,
        answering: str = "",
    ) -> Member:
        """Adds a server under the name that it requests, made unique if need be.

        A member that is this server from before is removed, also if it had another address. If another server that has joined has
        its address, the two clash: one of them is used, the other one is listed with the reason, and is used when the first one
        leaves.

        Args:
            static: it has not joined by itself.
            unreachable: why it cannot be used yet.
            rival: the server that has its address, perhaps by another name of the address; None: the one of the same address.
            answering: instance id of the process that answers at the address. If that is the rival, it remains in use. If not, the
                new server is used, because a server that was started again joins before its old stream has ended.

        Raises:
            LanemeshError: its address or one of its manifests is invalid.
        """
        check(info, static=static)
        self._held_back = [member for member in self._held_back if not member.is_process(info)]
        previous = None if static else self._joined_process(info)
        before = rival or self.at(info.address) or previous
        again = before is not None and (static or before.static or before.is_process(info))
        loses = before is not None and not again and bool(answering) and answering == before.info.instance_id
        if before is not None and not loses:
            del self.members[before.name]  # the new one may take its name too
            if again:
                log.info("%s at %s left: it joined again", before.name, before.info.address)
        if previous is not None and previous is not before:
            self.leave(previous, f"it joined again with the address {info.address}")
        known = registry_pb2.ServerInfo()
        known.CopyFrom(info)
        known.name = self._unique(info.name or "server")
        load = previous.load if previous is not None else self._loads.get(info.address) or Load()
        self._loads[info.address] = load
        member = Member(known, load, static, unreachable=unreachable)
        if before is not None and loses:
            self._hold_back(member, before)
        else:
            self._use(member)
            for other in self._held_back:
                other.rival = member if other.rival is before else other.rival
            if before is not None and not again:
                self._hold_back(before, member)
        self._changed()
        return member

    def _use(self, member: Member) -> None:
        self.members[member.name] = member
        if member.unreachable:
            log.warning("%s cannot be reached: %s; retrying", member.name, member.unreachable)
            return
        providers = ", ".join(sorted(member.manifests)) or "no node types"
        how = "is found at" if member.static else "joined from"
        log.info("%s %s %s with %s", member.name, how, member.info.address, providers)

    def _hold_back(self, member: Member, rival: Member) -> None:
        """Does not use a server, under a name of its own, and reports the clash of addresses to both."""
        member.info.name = self._unique(member.name)
        member.rival = rival
        self._held_back.append(member)
        clash = (
            "%s and %s give the same address. The first one is used; start the other one with an --advertise of its own"
        )
        log.warning(clash, rival.shown, member.shown)
        member.warn(f"this server is not used: {_address_clash(rival)}")
        rival.warn(
            f"the server {member.shown} gives the address of this server, {rival.info.address}, too. It is not used. Start it "
            "with an --advertise of its own"
        )

    def _unique(self, wanted: str) -> str:
        """The name, with a number where another server has it."""
        taken = {LOCAL, *self.members, *(member.name for member in self._held_back)}
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def at(self, address: str) -> Member | None:
        """The server of an address."""
        return next((member for member in self.members.values() if member.info.address == address), None)

    def _joined_process(self, info: registry_pb2.ServerInfo) -> Member | None:
        """The member that has joined from the same process, at whatever address."""
        return next((member for member in self.members.values() if not member.static and member.is_process(info)), None)

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
        """Forgets a server. One that was held back because of its address takes its place, the newest of several."""
        if member in self._held_back:
            self._held_back.remove(member)
            log.info("%s left, which was not used", member.shown)
        elif self.members.get(member.info.name) is member:
            del self.members[member.info.name]
            log.info("%s at %s left%s", member.info.name, member.info.address, f": {why}" if why else "")
            self._use_held_back(member)
        self._changed()

    def _use_held_back(self, left: Member) -> None:
        waiting = [member for member in self._held_back if member.rival is left]
        if not waiting:
            return
        successor = waiting.pop()
        self._held_back.remove(successor)
        successor.rival = None
        for member in waiting:
            member.rival = successor
        self.members[successor.name] = successor
        log.info("%s is used now, since %s left", successor.shown, left.shown)
        successor.warn(f"this server is used now: {left.shown}, which gave the same address, has left")

    def update(self, member: Member, manifests: Iterable[node_pb2.Manifest]) -> None:
        """The node types of a server have changed. If one of them cannot be used, it keeps those that it had, and is warned."""
        changed = registry_pb2.ServerInfo(name=member.name, address=member.info.address, manifests=manifests)
        try:
            check(changed)
        except LanemeshError as error:
            member.warn(f"its node types have changed, and are not used: {error}")
            return
        del member.info.manifests[:]
        member.info.manifests.extend(changed.manifests)
        member.manifests = {manifest.provider: manifest for manifest in member.info.manifests}
        log.info("%s has other node types now: %s", member.name, ", ".join(sorted(member.manifests)))
        self._changed()

    def own_changed(self) -> None:
        """The orchestrator's own node types have changed."""
        self.__dict__.pop("_own", None)
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
        """The servers, for people. Those that are not used because of their address are the last ones."""
        return [member.listed() for member in (*self.members.values(), *self._held_back)]

    @cached_property
    def _own(self) -> dict[str, node_pb2.Manifest]:
        return {manifest.provider: manifest for manifest in self._ask_own()}

    def _changed(self) -> None:
        in_order = sorted(self.members.values(), key=_precedence)
        replaced = replacements(in_order)
        offers = [
            (
                member.name,
                {name: offer for name, offer in member.manifests.items() if name not in replaced[member.name]},
            )
            for member in in_order
        ]
        self._manifests, conflicts = agree(self._own, offers)
        for member in self.members.values():
            for provider in replaced[member.name].keys() - member.replaced.keys():
                member.warn(_replaced_text(provider, replaced[member.name][provider]))
            member.replaced = replaced[member.name]
        for name, member in self.members.items():
            found = conflicts.get(name, {})
            for provider in found.keys() - member.conflicts.keys():
                log.warning(
                    '%s at %s offers the node type "%s" with another manifest than %s, which joined earlier: it is not used for '
                    "it. Start the same version of its service on both",
                    *(name, member.info.address, provider, found[provider]),
                )
                member.warn(_conflict_text(provider, found[provider], self.members.get(found[provider])))
            member.conflicts = found
        self.version += 1
        self.changes.fire()


def _address_clash(rival: Member) -> str:
    """Why a server is not used, for its own log and for people."""
    return f"its address is that of the server {rival.shown}. Start it with an --advertise of its own"


def _precedence(member: Member) -> tuple[bool, bool, int]:
    """Whose manifests are in force: those of servers that replace others first, the newest first, and of unreachable ones last."""
    unreachable = member.static and bool(member.unreachable)
    replaces = member.info.replaces and not member.draining
    return unreachable, not replaces, -member.started_at if replaces else 0


def _conflict_text(provider: str, name: str, winner: Member | None) -> str:
    """Why a server is not used for a node type, for its own log."""
    if winner is None:
        return f'the node type "{provider}" of this server is not used, because it is one of {ORCHESTRATOR}. Give it another name'
    return (
        f'the node type "{provider}" of this server is not used: its manifest differs from that of the server {winner.shown}, '
        f'which was there before. Stop "{name}", or start this server with --replace to use its node types in place of older ones'
    )


def _replaced_text(provider: str, winner: str) -> str:
    """The same where a newer server replaces it."""
    return (
        f'the node type "{provider}" of this server is replaced by the server "{winner}", which was started later with --replace. '
        "Runs that use it here go on to their end, and new ones do not use it here"
    )
