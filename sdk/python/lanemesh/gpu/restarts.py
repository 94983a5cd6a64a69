"""Leases as entries of the journal, and leases of an earlier arbiter from its entries."""

from __future__ import annotations

from collections.abc import Mapping

from lanemesh.gpu.journal import LeaseEntry
from lanemesh.gpu.memory import DeviceMemory
from lanemesh.gpu.requests import LeaseRecord, State


def entry_of(lease: LeaseRecord | None, memory: Mapping[str, DeviceMemory]) -> LeaseEntry | None:
    """The entry of a lease; None: it has no devices, or has ended. `memory` is that of each device."""
    if lease is None or not lease.devices:
        return None
    state = State.YIELDED if lease.state is State.RESUMING else lease.state
    resident = memory[lease.devices[0]].residents.get(lease.demand.key) if lease.demand.key else None
    size = resident.size if resident is not None and state is State.KEPT else 0
    return LeaseEntry(lease.id, lease.request, state.name, dict(lease.tokens), lease.earlier_token, size)


def restore(lease: LeaseRecord, entry: LeaseEntry, memory: Mapping[str, DeviceMemory], now: float, ttl: float) -> None:
    """Gives a new lease the state and the memory of an entry. Its holder has `ttl` seconds to reclaim it."""
    devices = tuple(entry.tokens)
    lease.connected, lease.devices, lease.named = False, devices, devices[0]
    lease.tokens, lease.earlier_token = dict(entry.tokens), entry.earlier_token
    lease.held_since, lease.expires_at = now, now + ttl
    for device in devices:
        memory[device].grant(lease.id, lease.demand, now)
        if entry.state == "YIELDED":
            memory[device].pause(lease.id, lease.demand)
        elif entry.state == "KEPT":
            memory[device].keep(lease.id, lease.demand, entry.resident_bytes)
            memory[device].release(lease.id, lease.demand, now, certain=True)
    lease.state = State[entry.state]
