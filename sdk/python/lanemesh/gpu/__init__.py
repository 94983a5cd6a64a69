"""GPU leases: the exclusive use of GPUs. Node authors write `async with context.gpu.lease() as lease:`."""

from __future__ import annotations

from lanemesh.gpu.arbiter import GpuArbiter, embedded_arbiter
from lanemesh.gpu.client import GpuClient
from lanemesh.gpu.devices import BadDeviceList, find_devices
from lanemesh.gpu.errors import ArbiterUnreachable, GpuOutOfMemory, LeaseError, LeaseLost, LeaseTimeout, NoSuchDevice
from lanemesh.gpu.lease import Lease
from lanemesh.gpu.links import ArbiterLink, EmbeddedLink, connect, status
from lanemesh.gpu.memory_use import OutOfMemory

__all__ = [
    "ArbiterLink",
    "ArbiterUnreachable",
    "BadDeviceList",
    "EmbeddedLink",
    "GpuArbiter",
    "GpuClient",
    "GpuOutOfMemory",
    "Lease",
    "LeaseError",
    "LeaseLost",
    "LeaseTimeout",
    "NoSuchDevice",
    "OutOfMemory",
    "connect",
    "embedded_arbiter",
    "find_devices",
    "status",
]
