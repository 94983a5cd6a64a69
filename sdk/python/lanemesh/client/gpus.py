"""The GPUs of a mesh, for clients: devices, leases, and requests that wait."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lanemesh.times import seconds_of
from lanemesh.v1 import gpu_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """A model that is loaded on a device."""

    name: str
    """Its name."""
    memory_bytes: int
    """Its memory."""
    idle_seconds: float | None
    """Time since its last use; None: it is in use."""
    unloading: bool = False
    """It is being unloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """A device. All sizes are in bytes."""

    id: str
    """Its id, such as "cuda:0"."""
    name: str
    """What it is, for people."""
    memory_bytes: int
    """Its memory."""
    free_bytes: int
    """What can be granted."""
    leased_bytes: int
    """What leases have, without their models."""
    model_bytes: int
    """What loaded models have."""
    other_bytes: int
    """What other processes have, what ended leases may have left, and what exceeds declarations."""
    observed: bool
    """The device is observed; otherwise `other_bytes` is unknown."""
    models: tuple[GpuModel, ...] = ()
    """The loaded models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLease:
    """A lease that has a device, or a request that waits for one."""

    id: str
    """Its id."""
    state: str
    """"held", "yielded", "kept" (for a model that stays loaded), "waiting" or "resuming"."""
    device: str
    """The device; of a request that which it names, empty: any."""
    component: str
    """The component that has it, or another name."""
    run_id: str
    """The run; empty outside of runs."""
    server: str
    """The node server."""
    seconds: float
    """Time since it was granted, or since the request."""
    peak_bytes: int
    """Most bytes at a time; 0: the device for itself."""
    model: str
    """The model that it is for; empty: none."""
    purpose: str
    """What its holder does with it."""
    position: int = 0
    """The position of a request in the queue, from 1."""
    eta_seconds: float | None = None
    """When a request will probably be granted; None: unknown."""
    reason: str = ""
    """Why a request waits."""


@dataclass(frozen=True, slots=True)
class GpuReport:
    """The devices of a mesh, and who has and wants them."""

    devices: tuple[GpuDevice, ...] = ()
    """The devices."""
    leases: tuple[GpuLease, ...] = ()
    """The leases."""
    waiting: tuple[GpuLease, ...] = ()
    """The requests, in the order of the queue."""


def decode_gpus(devices: Iterable[gpu_pb2.DeviceStatus], leases: Iterable[gpu_pb2.LeaseStatus]) -> GpuReport:
    """The value of what an arbiter lists."""
    found = [_lease(lease) for lease in leases]
    return GpuReport(
        devices=tuple(map(_device, devices)),
        leases=tuple(lease for lease in found if not lease.position),
        waiting=tuple(lease for lease in found if lease.position),
    )


def _device(status: gpu_pb2.DeviceStatus) -> GpuDevice:
    memory = status.memory
    return GpuDevice(
        id=status.device.id,
        name=status.device.name,
        memory_bytes=status.device.memory_bytes,
        free_bytes=memory.free,
        leased_bytes=memory.leased,
        model_bytes=memory.models,
        other_bytes=memory.foreign + memory.lingering + memory.excess,
        observed=memory.observed,
        models=tuple(
            GpuModel(
                name=model.model,
                memory_bytes=model.memory_bytes,
                idle_seconds=seconds_of(model.idle) if model.HasField("idle") else None,
                unloading=model.unloading,
            )
            for model in status.models
        ),
    )


def _lease(status: gpu_pb2.LeaseStatus) -> GpuLease:
    return GpuLease(
        id=status.lease_id,
        state=gpu_pb2.LeaseState.Name(status.state).removeprefix("LEASE_STATE_").lower(),
        device=status.device,
        component=status.holder.component,
        run_id=status.holder.run_id,
        server=status.holder.server,
        seconds=seconds_of(status.age),
        peak_bytes=status.peak_bytes,
        model=status.model,
        purpose=status.purpose,
        position=status.position,
        eta_seconds=seconds_of(status.eta) if status.HasField("eta") else None,
        reason=status.reason,
    )
