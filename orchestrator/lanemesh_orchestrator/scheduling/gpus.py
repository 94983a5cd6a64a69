"""Which node servers suit a component that uses a GPU, by what they report. A preference: no component is refused for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from lanemesh.model_users import MAX_DEVICES, MAX_MODELS, MAX_SETTINGS
from lanemesh.v1 import node_pb2, registry_pb2

MAX_LEAD = 8
"""How many components more than the least loaded server one may have and still be preferred, so that runs spread."""


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """What a component needs of a GPU."""

    memory_bytes: int = 0
    """The most bytes in use at a time on each device; 0: a device without leases."""
    device: str = ""
    """The required device; empty: any."""
    count: int = 1
    """Number of devices."""

    @classmethod
    def of(cls, manifest: node_pb2.Manifest) -> Self | None:
        """The need of a node type; None: nothing that is known."""
        if not manifest.HasField("gpu"):
            return None
        return cls(manifest.gpu.memory_bytes, manifest.gpu.device, max(manifest.gpu.count, 1))


@dataclass(frozen=True, slots=True)
class DeviceCapacity:
    """What is free of a device."""

    free_bytes: int
    leases: int


@dataclass(frozen=True, slots=True)
class ServerGpus:
    """What a node server has on GPUs, by its latest report."""

    settings: frozenset[str] = frozenset()
    """The node types with their configs whose models it has loaded, see `settings_digest`."""
    devices: dict[str, DeviceCapacity] = field(default_factory=dict)
    """The devices that it shares with no other server, by id."""

    @classmethod
    def of(cls, report: registry_pb2.GpuReport) -> Self:
        """What a report says. What it has beyond its limits is ignored."""
        return cls(
            frozenset(each for model in report.models[:MAX_MODELS] for each in model.settings[:MAX_SETTINGS]),
            {each.device: DeviceCapacity(each.free_bytes, each.leases) for each in report.devices[:MAX_DEVICES]},
        )

    def has_capacity(self, need: GpuNeed, reserved: int) -> bool:
        """Whether what is needed is free. `reserved`: bytes for other components that are placed there at the same time."""
        named = [self.devices[need.device]] if need.device in self.devices else []
        devices = named if need.device else list(self.devices.values())
        fitting = [
            device
            for device in devices
            if (device.free_bytes >= need.memory_bytes if need.memory_bytes else not device.leases)
        ]
        if len(fitting) < need.count:
            return False
        wanted = need.memory_bytes * need.count
        return not reserved or reserved + wanted <= sum(device.free_bytes for device in fitting)


NO_GPUS = ServerGpus()
"""A server that has reported nothing."""


class Preference(IntEnum):
    """How well a server suits a component: the least value is preferred."""

    LOADED = 0
    """The model of the component is loaded there."""
    FREE = 1
    """What it needs is free there."""
    OTHER = 2


def preference(gpus: ServerGpus, settings: str, need: GpuNeed | None, reserved: int = 0) -> Preference:
    """How well a server suits a component.

    Args:
        gpus: what the server has.
        settings: the digest of the component's node type and config.
        need: what it needs of a GPU; None: unknown, or nothing.
        reserved: bytes for other components that are placed there at the same time.
    """
    if settings in gpus.settings:
        return Preference.LOADED
    if need is not None and gpus.devices and gpus.has_capacity(need, reserved):
        return Preference.FREE
    return Preference.OTHER
