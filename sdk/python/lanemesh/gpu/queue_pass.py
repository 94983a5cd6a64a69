"""Which request gets which devices, in one pass over the queue: first come first served, with bounded bypass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lanemesh.gpu.memory import DeviceMemory
from lanemesh.gpu.requests import LeaseRecord
from lanemesh.gpu.resident import Resident

MAX_BYPASS = 8
"""How many later requests may pass the first one that waits for a device."""
BYPASS_SECONDS = 10.0
"""How long after its request the first one that waits for a device may be passed."""


class QueuePass:
    """One pass over the queue, in its order, at one moment."""

    def __init__(
        self,
        memory: Mapping[str, DeviceMemory],
        yielded: Mapping[str, int],
        now: float,
        max_bypass: int = MAX_BYPASS,
    ) -> None:
        """`yielded` counts for each device the leases that will return to it. `max_bypass`: how many later requests pass the first
        one that waits for a device."""
        self._max_bypass = max_bypass
        self._memory = memory
        self._yielded = yielded
        self._now = now
        self._first: dict[str, LeaseRecord] = {}
        """For each device the first request that has to wait for it."""
        self._waiting: list[LeaseRecord] = []
        self._tried: set[object] = set()
        """The signatures of requests that have to wait: another one of the same signature has to wait as well."""

    @property
    def is_over(self) -> bool:
        """No device can be granted to any further request: each is held alone, or gone."""
        return all(memory.exclusive or memory.gone for memory in self._memory.values())

    def try_place(self, lease: LeaseRecord) -> tuple[str, ...]:
        """The devices for the next request of the queue; empty: it has to wait."""
        if lease.signature in self._tried:
            return ()
        open_to_it = [device for device in lease.eligible if self._may_pass(device)]
        fitting = [device for device in open_to_it if self._memory[device].fits(lease.id, lease.demand)]
        if len(fitting) < lease.count:
            self._wait(lease)
            return ()
        best = fitting  # in the order of the devices that it had
        if len(fitting) > lease.count or not lease.devices:
            best = sorted(fitting, key=lambda device: self._preference(lease, device))[: lease.count]
        for passed in {id(first): first for first in map(self._first.get, best) if first is not None}.values():
            passed.bypassed += 1
        return tuple(best)

    def unloads(self) -> Iterator[tuple[Resident, str]]:
        """The models to unload for those that wait, and where; if leases use one, it is to be offloaded.

        A model is offloaded only for a device on which no lease works, or for a request that has waited long: the work that goes
        on may be all that is in the way.
        """
        for lease in self._waiting:
            if not lease.demand.peak and not lease.demand.evicts:
                continue
            ready = 0
            able: list[tuple[bool, float, str, list[Resident]]] = []
            is_old = self._now >= lease.asked_at + BYPASS_SECONDS
            for device in lease.eligible:
                memory = self._memory[device]
                if self._first.get(device) is not lease or not memory.has_place(lease.demand):
                    continue
                offload = is_old or not memory.working
                victims = memory.victims(lease.id, lease.demand, self._now, offload=offload)
                if victims is not None and not victims:
                    ready += 1  # it fits, or will when what is being unloaded is gone
                elif victims:
                    worth = sum(each.worth_unloading(self._now) for each in victims)
                    able.append((any(each.users for each in victims), -worth, device, victims))
            for *_, device, victims in sorted(able, key=lambda each: each[:3])[: max(lease.count - ready, 0)]:
                if ready + len(able) < lease.count:
                    break
                for resident in victims:
                    yield resident, device

    def _wait(self, lease: LeaseRecord) -> None:
        self._tried.add(lease.signature)
        self._waiting.append(lease)
        for device in lease.eligible:
            self._first.setdefault(device, lease)

    def _may_pass(self, device: str) -> bool:
        """A later request may be granted a device for which another one waits."""
        first = self._first.get(device)
        if first is None:
            return True
        return first.bypassed < self._max_bypass and self._now - first.asked_at < BYPASS_SECONDS

    def _preference(self, lease: LeaseRecord, device: str) -> tuple[bool, int, int, str]:
        """The device with the model first; then the one to which fewest leases will return; then the fullest."""
        memory = self._memory[device]
        return not memory.is_resident(lease.demand), self._yielded.get(device, 0), memory.free, device
