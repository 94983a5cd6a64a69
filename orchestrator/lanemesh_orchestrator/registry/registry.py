"""The registry: the node servers of a mesh and their state, as the orchestrator knows it."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from lanemesh._aio.signal import Signal
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import FEATURES, Feature, unsupported
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import node_pb2, registry_pb2

from lanemesh_orchestrator.registry.manifests import check
from lanemesh_orchestrator.registry.manifests_in_force import ManifestsInForce
from lanemesh_orchestrator.registry.member import Load, Member, address_clash
from lanemesh_orchestrator.scheduling.gpus import ServerGpus
from lanemesh_orchestrator.scheduling.requirements import Requirement, least_loaded

if TYPE_CHECKING:
    from lanemesh._grpc.security import Security

LOCAL = "orchestrator"
"""Name of the orchestrator's own host; no server gets it."""
log = logging.getLogger("lanemesh.registry")


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
        self._in_force = ManifestsInForce(own)
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
        member.warn(f"this server is not used: {address_clash(rival)}")
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
        self._in_force.own_changed()
        self._changed()

    def report_gpus(self, member: Member, report: registry_pb2.GpuReport) -> None:
        """Replaces what is known of the GPUs of a server."""
        member.gpus = ServerGpus.of(report)
        self.gpu_reports.fire()

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The manifests in force, by provider: the orchestrator's own, and for every other node type that of the server with
        precedence."""
        return self._in_force.manifests()

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

    def _changed(self) -> None:
        self._in_force.update(self.members)
        self.version += 1
        self.changes.fire()
