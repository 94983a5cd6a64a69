"""The requests to unload or offload models: what leases are asked, and how long the arbiter waits for that."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lanemesh.gpu import frames
from lanemesh.gpu.metrics import ArbiterCounts
from lanemesh.gpu.queries import ArbiterView
from lanemesh.gpu.queue_pass import BYPASS_SECONDS
from lanemesh.gpu.requests import LeaseRecord, State
from lanemesh.gpu.resident import UNLOAD_SECONDS, Residence, Resident
from lanemesh.v1 import gpu_pb2


class Unloading:
    """The requests of one arbiter to the leases of models."""

    def __init__(self, view: ArbiterView, counts: ArbiterCounts) -> None:
        """`counts` gets the number of requests of each device."""
        self._view = view
        self._counts = counts
        self._asks = 0
        """Counts the requests."""
        self._given_up = -math.inf
        """The beginning of the latest unloading that took too long."""

    def ask(self, resident: Resident, device: str, now: float) -> list[tuple[str, gpu_pb2.LeaseResponse]]:
        """Asks the lease that keeps a model to unload it, or the leases that use it to offload it. Returns the frames for those
        that are connected."""
        self._asks += 1
        self._view.memory[device].ask(resident, now, self._asks)
        if not resident.users:
            self._counts.unloads[device] += 1
            return [(resident.keeper, frames.UNLOAD)] if self._view.leases[resident.keeper].connected else []
        self._counts.offloads[device] += 1
        users = [self._view.leases[name] for name in sorted(resident.users)]
        return [frame for user in users if user.connected for frame in self._offloads_of(user)]

    def asked_of(self, lease: LeaseRecord) -> Iterator[tuple[str, gpu_pb2.LeaseResponse]]:
        """The frames that ask a lease once more, on a new stream: to unload the model that it is kept for, or to offload its model
        while it has yielded."""
        if lease.state is not State.KEPT:
            yield from self._offloads_of(lease)
        elif any(self._view.memory[device].is_leaving(lease.demand) for device in lease.devices):
            yield lease.id, frames.UNLOAD

    def _offloads_of(self, lease: LeaseRecord) -> Iterator[tuple[str, gpu_pb2.LeaseResponse]]:
        for device in lease.devices:
            resident = self._view.memory[device].residents.get(lease.demand.key) if lease.demand.key else None
            if resident is not None and resident.residence is Residence.OFFLOADING:
                yield lease.id, frames.offload(resident.ask)

    def next_deadline(self, settled: float) -> float:
        """When `tick` has something to decide; infinite: never. `settled` is when it was last decided what is granted."""
        unloads = [since + UNLOAD_SECONDS for since in self._awaited_since()]
        return min([*unloads, *self._offloads_due(settled)], default=math.inf)

    def tick(self, now: float, settled: float) -> bool:
        """Gives up the unloadings that took too long. Returns whether it has to be decided again what is granted."""
        overdue = [since for since in self._awaited_since() if since + UNLOAD_SECONDS <= now]
        self._given_up = max([self._given_up, *overdue])
        return bool(overdue) or any(at <= now for at in self._offloads_due(settled))

    def _awaited_since(self) -> list[float]:
        """When unloadings have begun whose time is not over."""
        leaving = (resident for memory in self._view.memory.values() for resident in memory.leaving)
        return [resident.since for resident in leaving if resident.since > self._given_up]

    def _offloads_due(self, settled: float) -> list[float]:
        """When requests have waited so long that models are offloaded for them although other leases work."""
        parking = {
            name
            for name, memory in self._view.memory.items()
            if any(each.may_offload for each in memory.residents.values())
        }
        if not parking:
            return []
        due = ((waiter, waiter.asked_at + BYPASS_SECONDS) for waiter in self._view.queue)
        return [at for waiter, at in due if at > settled and not parking.isdisjoint(waiter.eligible)]
