"""The leases of the arbiter, its queue, and the memory and tokens of its devices: what changes in them with a lease."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Iterator

from lanemesh.gpu.journal import JournalState, LeaseEntry
from lanemesh.gpu.memory import Demand, DeviceMemory
from lanemesh.gpu.metrics import ArbiterCounts
from lanemesh.gpu.pace import Pace
from lanemesh.gpu.peaks import ModelPeaks
from lanemesh.gpu.queries import ArbiterView
from lanemesh.gpu.requests import WAIT_TIMEOUT, LeaseRecord, State, demand_of
from lanemesh.gpu.restarts import entry_of, restore
from lanemesh.times import seconds_of
from lanemesh.v1 import gpu_pb2


class LeaseTable:
    """The state of an arbiter. It decides nothing, and reports nothing to holders."""

    def __init__(self, devices: Iterable[gpu_pb2.Device], *, ttl: float, ageing: float, first_token: int) -> None:
        """`ttl`: seconds until a lease without a heartbeat expires. `ageing`: seconds in the queue that one level of priority is
        worth."""
        self.devices = {device.id: device for device in devices}
        self.memory = {name: DeviceMemory(device) for name, device in self.devices.items()}
        self.ttl = ttl
        self.tokens = dict.fromkeys(self.devices, first_token)
        """The latest fencing token of each device."""
        self.leases: dict[str, LeaseRecord] = {}
        self.queue: list[LeaseRecord] = []
        """The leases that wait, by rank."""
        self.peaks = ModelPeaks()
        pace = self._pace = Pace()
        self.view = ArbiterView(self.devices, self.memory, self.leases, self.queue, pace)
        """The state, for queries."""
        self.counts = ArbiterCounts()
        """What was decided so far."""
        self._ageing = ageing
        self._arrivals = 0
        self._changed: dict[str, None] = {}
        """Leases that have got or given devices, for the journal."""

    def restore(self, now: float, state: JournalState) -> None:
        """Takes over the leases that an earlier arbiter has written, whose holders have the TTL to reclaim them.

        Those that hold devices come last: to restore one that has yielded or is kept, it is granted its devices for a moment, which
        would end the exclusive use of another one.
        """
        for device in self.devices:
            self.tokens[device] = max(self.tokens[device], state.tokens.get(device, 0))
        self.peaks.restore(state.peaks)
        for entry in sorted(state.leases.values(), key=lambda each: each.state == State.HELD.name):
            if set(entry.tokens) <= set(self.devices):
                request, devices = entry.request, tuple(entry.tokens)
                demand, count = demand_of(request), max(request.count, 1)
                lease = self.enter(now, entry.id, request, demand, devices, count, local=False)
                restore(lease, entry, self.memory, now, self.ttl)

    def take_changes(self) -> Iterator[tuple[str, LeaseEntry | None]]:
        """The leases that have got or given devices since the last call; None: it has ended."""
        changed, self._changed = self._changed, {}
        return ((lease_id, entry_of(self.leases.get(lease_id), self.memory)) for lease_id in changed)

    def enter(
        self,
        now: float,
        lease_id: str,
        request: gpu_pb2.LeaseAcquire,
        demand: Demand,
        eligible: tuple[str, ...],
        count: int,
        *,
        local: bool,
    ) -> LeaseRecord:
        """Enters a requested lease, which does not wait yet."""
        self._arrivals += 1
        lease = LeaseRecord(
            id=lease_id,
            holder=request.holder,
            demand=demand,
            eligible=eligible,
            count=count,
            named=request.device,
            priority=request.priority,
            head_start=request.priority * self._ageing,
            preempts=request.preempts,
            wait_timeout=seconds_of(request.wait_timeout) if request.HasField("wait_timeout") else WAIT_TIMEOUT,
            local=local,
            arrival=self._arrivals,
            asked_at=now,
            purpose=request.purpose,
            request=request,
        )
        self.leases[lease_id] = lease
        return lease

    def enqueue(self, lease: LeaseRecord) -> None:
        """Lets a lease wait, at its rank."""
        insort(self.queue, lease, key=lambda waiter: waiter.rank)

    def grant(self, now: float, lease: LeaseRecord, devices: tuple[str, ...]) -> None:
        """Gives devices to a lease that waits, each with a new token."""
        self.queue.remove(lease)
        self._changed[lease.id] = None
        lease.earlier_token = lease.token
        lease.resident = frozenset(device for device in devices if self.memory[device].is_resident(lease.demand))
        self.counts.waited_seconds += now - lease.asked_at
        self.counts.grants.update(devices)
        self.counts.resident_grants.update(lease.resident)
        for device in devices:
            self.memory[device].grant(lease.id, lease.demand, now)
            self.tokens[device] += 1
        lease.state, lease.devices, lease.eligible, lease.held_since = State.HELD, devices, devices, now
        lease.named = devices[0]
        lease.tokens = {device: self.tokens[device] for device in devices}
        lease.reported_waiting = 0
        self.revive(now, lease)

    def revive(self, now: float, lease: LeaseRecord) -> None:
        """Counts a sign of life. The TTL runs only for remote holders and lost streams."""
        ticking = not lease.connected or (lease.state is State.HELD and not lease.local)
        lease.expires_at = now + self.ttl if ticking else math.inf

    def pause(self, now: float, lease: LeaseRecord, *, offloads: bool) -> None:
        """Lets others use the devices of a lease. One that waits to resume leaves the queue. `offloads`: it can offload the model
        of its one device to host memory."""
        if lease.state is State.HELD:
            for device in lease.devices:
                self.memory[device].pause(lease.id, lease.demand)
                self._pace.ended(device, now - lease.held_since)
        elif lease.state is State.RESUMING:
            self.queue.remove(lease)
        if offloads and len(lease.devices) == 1:
            self.memory[lease.devices[0]].park(lease.id, lease.demand)
        lease.state, lease.earlier_token, lease.reported_waiting = State.YIELDED, 0, 0
        self._changed[lease.id] = None
        lease.revoke_at = math.inf
        self.revive(now, lease)

    def keep(self, now: float, lease: LeaseRecord, resident_bytes: int) -> bool:
        """Releases a lease whose model stays loaded, with so many bytes. Returns whether a device keeps it; if none does, nothing
        is released."""
        kept = [self.memory[device].keep(lease.id, lease.demand, resident_bytes) for device in lease.devices]
        if not any(kept):
            return False
        for device in lease.devices:
            self.memory[device].release(lease.id, lease.demand, now, certain=True)
            if lease.state is State.HELD:
                self._pace.ended(device, now - lease.held_since)
        lease.state, lease.expires_at, lease.revoke_at = State.KEPT, math.inf, math.inf
        self._changed[lease.id] = None
        return True

    def remove(self, now: float, lease: LeaseRecord, reason: str, *, certain: bool) -> None:
        """Removes a lease in any state. Not `certain`: its memory may still be in use."""
        del self.leases[lease.id]
        self.counts.ended[reason] += 1
        if lease.devices:
            self._changed[lease.id] = None
        if lease.state in (State.WAITING, State.RESUMING):
            self.queue.remove(lease)
        for device in lease.devices:
            if lease.state is State.HELD:
                self._pace.ended(device, now - lease.held_since)
            if lease.state is State.KEPT:
                self.memory[device].unloaded(lease.id, lease.demand, now, certain=certain)
            else:
                self.memory[device].release(lease.id, lease.demand, now, certain=certain)

    def fence(self, lease: LeaseRecord) -> None:
        """Raises the tokens of the devices of a lease, so that those of its holder are out of date."""
        for device in lease.devices:
            self.tokens[device] += 1
