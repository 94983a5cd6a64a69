"""One node server of a mesh: its description, its state, its load, and the warnings for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lanemesh._aio.signal import Signal
from lanemesh.v1 import node_pb2, registry_pb2

from lanemesh_orchestrator.scheduling.gpus import NO_GPUS, ServerGpus

MAX_WARNINGS = 16
"""Warnings that wait to be sent to a server; older ones are dropped."""


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
            record.health_detail = address_clash(self.rival)
        return record


def address_clash(rival: Member) -> str:
    """The reason why a server is held back, for its log and for clients."""
    return f"its address is that of the server {rival.shown}. Start it with an --advertise of its own"
