"""GPU leases: the exclusive use of GPUs. Node authors write `async with context.gpu.lease() as lease:`."""

from __future__ import annotations

from lanemesh.gpu.arbiter import GpuArbiter, embedded_arbiter
from lanemesh.gpu.client import GpuClient
from lanemesh.gpu.devices import BadDeviceList, find_devices
from lanemesh.gpu.errors import ArbiterUnreachable, LeaseError, LeaseLost, LeaseTimeout, NoSuchDevice
from lanemesh.gpu.lease import Lease
from lanemesh.gpu.links import ArbiterLink, EmbeddedLink, connect, status

__all__ = [
    "ArbiterLink",
    "ArbiterUnreachable",
    "BadDeviceList",
    "EmbeddedLink",
    "GpuArbiter",
    "GpuClient",
    "Lease",
    "LeaseError",
    "LeaseLost",
    "LeaseTimeout",
    "NoSuchDevice",
    "connect",
    "embedded_arbiter",
    "find_devices",
    "status",
]
