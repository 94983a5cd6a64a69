"""The registry: the node servers of a mesh and their state, as the orchestrator knows it."""

from __future__ import annotations

import hmac
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from lanemesh._aio.signal import Signal
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import FEATURES, Feature, unsupported
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import node_pb2, registry_pb2

from lanemesh_orchestrator.registry.manifests import ORCHESTRATOR, agree, check, replacements, with_missing
from lanemesh_orchestrator.scheduling.gpus import NO_GPUS, ServerGpus
from lanemesh_orchestrator.scheduling.requirements import Requirement, least_loaded

if TYPE_CHECKING:
    from lanemesh._grpc.security import Security

LOCAL = "orchestrator"
"""Name of the orchestrator's own host; no server gets it."""
MAX_WARNINGS = 16
"""Warnings that wait to be sent to a server; older ones are dropped."""

log = logging.getLogger("lanemesh.registry")


@dataclass(slots=True, weakref_slot=True)
class Load:
    """Number of components of this orchestrator's runs on a server. It is kept if the server joins again."""

    instances: int = 0


@dataclass(slots=True, eq=False)
class Member:
    """A node server that has joined, or whose address was given to the orchestrator."""

    info: registry_pb2.ServerInfo
    """Its description, with the name that the registry gave it."""
    load: Load = field(default_factory=Load)
    static: bool = False
    """Its address was given to the orchestrator; it has not joined by itself."""
    key: bytes = b""
    """The key of its membership, which no other server knows; empty: its software has none."""
    caller: str = ""
    """The subject of the token with which it has joined."""
    draining: bool = False
    """It accepts no new runs."""
    unreachable: str = ""
    """Why it cannot be used; empty if it can."""
    gpus: ServerGpus = NO_GPUS
    """What it has on GPUs."""
    manifests: Mapping[str, node_pb2.Manifest] = field(init=False)
    """Node types that it has, by provider."""
    conflicts: Mapping[str, str] = field(default_factory=dict)
    """Node types that it offers with a manifest other than the one in force, each with the owner of that one."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Replaced node types, each with the name of the newer server."""
    rival: Member | None = None
    """The server with the same address that is used instead; None: this server is used."""
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_WARNINGS))
    """Warnings that wait to be sent to the server, for its log."""
    news: Signal = field(default_factory=Signal)
    """Fires when a warning was added or the name has changed."""

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
        """Whether it has joined but has sent nothing for a while. It may have ended, or be very busy."""
        return bool(self.unreachable) and not self.static

    @property
    def shown(self) -> str:
        """Its name, address and process id, for logs and errors."""
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
        """Whether it offers the node type with the manifest in force."""
        return provider in self.manifests and provider not in self.conflicts and provider not in self.replaced

    def lacks(self, provider: str) -> Collection[str]:
        """The Python packages of a node type that are missing there."""
        manifest = self.manifests.get(provider)
        return manifest.missing_packages if manifest is not None else ()

    def listed(self) -> registry_pb2.NodeServer:
        """The record of the server that is sent to clients."""
        record = registry_pb2.NodeServer(
            info=self.info,
            providers=sorted(self.manifests),
            draining=self.draining,
            active_instances=self.active_instances,
            health=registry_pb2.SERVER_HEALTH_SERVING,
            health_detail=self.unreachable,
            conflicting_providers=sorted(self.conflicts),
            replaced_providers=sorted(self.replaced),
            incomplete_providers=sorted(name for name in self.manifests if self.lacks(name)),
            static=self.static,
        )
        del record.info.manifests[:]
        if self.unreachable:
            record.health = registry_pb2.SERVER_HEALTH_UNREACHABLE
        elif self.draining:
            record.health = registry_pb2.SERVER_HEALTH_DRAINING
        if self.rival is not None:
            record.health = registry_pb2.SERVER_HEALTH_UNREACHABLE
            record.health_detail = _address_clash(self.rival)
        return record


class Registry:
    """The node servers of a mesh."""

    def __init__(self, own: Callable[[], Iterable[node_pb2.Manifest]] = tuple) -> None:
        """`own` returns the node types that the orchestrator runs itself; servers cannot replace them. It is called once, at the
        first use."""
        self.members: dict[str, Member] = {}
        """By name, in the order of joining."""
        self.changes = Signal()
        """Fires when a server joins, drains, becomes unreachable or reachable, leaves, or has new capacity."""
        self.gpu_reports = Signal()
        """Fires when a server reports its GPUs. No run waits for that: it only changes which server is preferred."""
        self.security: Security | None = None
        """TLS and the token of connections to node servers; None: what the environment sets."""
        self.version = 0
        """Incremented by each of these changes except new capacity."""
        self._held_back: list[Member] = []
        """Members that are not used because another member has the same address; the newest last."""
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
        key: bytes = b"",
        caller: str = "",
    ) -> Member:
        """Adds a server under the name that it requests, with a number if the name is taken.

        If the same server is a member already, its old entry is removed, also if that has another address. If another member has
        its address, the two clash: one of them is used. The other one is listed with the reason, and is used when the first one
        leaves.

        Args:
            static: its address was given to the orchestrator; it has not joined by itself.
            unreachable: why it cannot be used yet; empty: it can.
            rival: the member with its address, perhaps under another name of the address; None: looked up by the address.
            answering: instance id of the process that answers at the address. If it is the rival's, the rival remains in use.
                Otherwise the new server is used, because a restarted server joins before its old stream has ended.
            key: the key of its membership.
            caller: the subject of the token with which it joins.

        Raises:
            LanemeshError: its address or one of its manifests is invalid, or it claims to be a server that has joined from another
                process ("server-taken").
        """
        check(info, static=static)
        if not static:
            self.check_claim(info, key, caller)
        self._held_back = [member for member in self._held_back if not member.is_process(info)]
        previous = None if static else self._joined_process(info)
        before = rival or self.at(info.address) or previous
        again = before is not None and (static or before.static or before.is_process(info))
        loses = before is not None and not again and bool(answering) and answering == before.info.instance_id
        if before is not None and not loses:
            del self.members[before.name]  # the new member may take its name
            if again:
                log.info("%s at %s left: it joined again", before.name, before.info.address)
        if previous is not None and previous is not before:
            self.leave(previous, f"it joined again with the address {info.address}")
        known = registry_pb2.ServerInfo()
        known.CopyFrom(info)
        known.name = self._unique(info.name or "server")
        load = previous.load if previous is not None else self._loads.get(info.address) or Load()
        self._loads[info.address] = load
        member = Member(known, load, static, key, caller, unreachable=unreachable)
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

    def check_claim(self, info: registry_pb2.ServerInfo, key: bytes, caller: str) -> None:
        """Raises LanemeshError if a server gives the instance id of a member without being its process: any client can read that
        id."""
        for member in (*self.members.values(), *self._held_back):
            if member.static or not member.is_process(info):
                continue
            if not hmac.compare_digest(member.key, key) or (not key and member.caller != caller):
                message = (
                    f"the instance id of this server is that of the server {member.shown}, which has joined from another process. "
                    "Let each process make an instance id of its own, at random"
                )
                raise LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="server-taken", message=message))

    def _use(self, member: Member) -> None:
        self.members[member.name] = member
        if member.unreachable:
            log.warning("%s cannot be reached: %s; retrying", member.name, member.unreachable)
            return
        providers = ", ".join(sorted(member.manifests)) or "no node types"
        how = "is found at" if member.static else "joined from"
        log.info("%s %s %s with %s", member.name, how, member.info.address, providers)
        if member.info.protocol_version != PROTOCOL_VERSION:
            lacking = ", ".join(unsupported(FEATURES, member.features))
            log.warning(
                "the node server %s speaks version %d of the protocol, and this orchestrator version %d: they use the features "
                "that both support%s",
                *(member.shown, member.info.protocol_version, PROTOCOL_VERSION),
                f", which are all but {lacking}" if lacking else "",
            )
        if Feature.LANE_KEYS not in member.features:
            log.warning(
                'the node server %s lacks the feature "%s": the lanes of runs that use it do not prove that they belong to them. '
                "Install a version of its software that does",
                *(member.shown, Feature.LANE_KEYS),
            )

    def _hold_back(self, member: Member, rival: Member) -> None:
        """Holds a server back from use, under a unique name, and warns both servers of the address clash."""
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
        """The wanted name, with a number appended if another server has it."""
        taken = {LOCAL, *self.members, *(member.name for member in self._held_back)}
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def at(self, address: str) -> Member | None:
        """The server in use at an address, or None."""
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
        """Marks a server as unreachable. A static server gets no runs until it is reachable again. A joined server gets only runs
        that no other server can host."""
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
        """Removes a server. The newest server that was held back because of the same address is used instead."""
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
        """Replaces the node types of a server. If one of them is invalid, keeps the old ones and warns the server."""
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
        """Reloads the orchestrator's own node types after a change."""
        self.__dict__.pop("_own", None)
        self._changed()

    def report_gpus(self, member: Member, report: registry_pb2.GpuReport) -> None:
        """Replaces what is known of the GPUs of a server."""
        member.gpus = ServerGpus.of(report)
        self.gpu_reports.fire()

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The manifests in force, by provider: the orchestrator's own, and for every other node type that of the server with
        precedence."""
        if self._manifests is None:
            self._manifests = self._own
        return dict(self._manifests)

    def lacking(self, provider: str) -> dict[str, Collection[str]]:
        """The Python packages of a node type that are missing, by the name of each server that offers it."""
        return {member.name: member.lacks(provider) for member in self.members.values() if member.runs(provider)}

    def choose(
        self,
        provider: str,
        *,
        labels: Mapping[str, str] | None = None,
        without: Collection[str] = (),
        component: str = "",
    ) -> Member:
        """Selects the server for one more component of a node type: the least loaded server that has all of `labels` and whose
        name is not in `without`. The caller reserves capacity by `take`.

        Raises:
            NoServer: no server that accepts runs qualifies.
            NoCapacity: all servers that qualify are full.
        """
        requirement = Requirement(component or provider, provider, labels or {})
        return least_loaded([requirement], self.members.values(), without=without)[requirement.component]

    def take(self, load: Load, instances: int) -> None:
        """Adds a number of components to the load of a server; a negative number removes them."""
        load.instances += instances
        if instances < 0:
            self.changes.fire()

    def servers(self) -> list[registry_pb2.NodeServer]:
        """The records of all servers. Those that are held back because of their address come last."""
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
        self._manifests = {
            provider: manifest if provider in self._own else with_missing(manifest, self.lacking(provider).values())
            for provider, manifest in self._manifests.items()
        }
        self.version += 1
        self.changes.fire()


def _address_clash(rival: Member) -> str:
    """The reason why a server is held back, for its log and for clients."""
    return f"its address is that of the server {rival.shown}. Start it with an --advertise of its own"


def _precedence(member: Member) -> tuple[bool, bool, int]:
    """Sort key of manifests in force: replacing servers first, the newest before older ones; unreachable servers last."""
    unreachable = member.static and bool(member.unreachable)
    replaces = member.info.replaces and not member.draining
    return unreachable, not replaces, -member.started_at if replaces else 0


def _conflict_text(provider: str, name: str, winner: Member | None) -> str:
    """The warning for a server whose manifest of a node type is not in force."""
    if winner is None:
        return f'the node type "{provider}" of this server is not used, because it is one of {ORCHESTRATOR}. Give it another name'
    return (
        f'the node type "{provider}" of this server is not used: its manifest differs from that of the server {winner.shown}, '
        f'which was there before. Stop "{name}", or start this server with --replace to use its node types in place of older ones'
    )


def _replaced_text(provider: str, winner: str) -> str:
    """The warning for a server whose node type is replaced by a newer server."""
    return (
        f'the node type "{provider}" of this server is replaced by the server "{winner}", which was started later with --replace. '
        "Runs that use it here go on to their end, and new ones do not use it here"
    )
