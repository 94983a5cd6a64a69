"""The memory of one device: who has which part of it, and what may be unloaded to make room. Plain values, no clock of its own.

Memory is taken by leases (their working memory, and what they keep while they have yielded), by models that are loaded
(`Resident`), by what ended leases may have left behind (`lingering`), by what known processes have beyond all that (`excess`), and
by processes that the arbiter does not know (`foreign`). None of it is granted to a lease:

    capacity = working + kept + residents + lingering + excess + foreign + free

Memory of an unloaded model, or of a lease that was lost, is free only when the device has shown it, if the device is observed at
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lanemesh.gpu.resident import UNLOAD_SECONDS, Residence, Resident, least_worth
from lanemesh.v1 import gpu_pb2

RELOAD_SECONDS = 1.0
"""How long a model takes to load again, unless its requester says so."""
ATTRIBUTED_READINGS = 20
"""How many readings of a device attribute memory that is left to an unloaded model, which is not loaded again meanwhile. With a
reading each 50 ms that is a second."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request needs of each device."""

    exclusive: bool
    """No other lease on the device."""
    memory: int
    """Bytes that stay allocated; 0: unknown."""
    peak: int
    """Most bytes at a time; at least `memory`."""
    owner: str
    """The process that keeps the model loaded; empty: none does."""
    model: str
    """The model; empty: none."""
    reload_seconds: float = RELOAD_SECONDS
    evicts: bool = False
    """All other idle models of the device are unloaded first."""
    several: bool = False
    """It is for several devices together. A model on several devices does not stay."""

    @property
    def key(self) -> tuple[str, str] | None:
        """The resident that it uses or becomes; None if nothing stays."""
        return (self.owner, self.model) if self.owner and self.model and not self.several else None


class DeviceMemory:
    """The account of one device."""

    def __init__(self, device: gpu_pb2.Device) -> None:
        self.device = device
        self.observed = False
        """What the device shows is reported (`observe`)."""
        self.exclusive = ""
        """The lease that has the device for itself."""
        self.working: dict[str, int] = {}
        """Working memory in bytes by lease. A lease that has yielded is not in it."""
        self.kept: dict[str, int] = {}
        """Bytes that leases keep while they have yielded, besides models."""
        self._owners: dict[str, str] = {}
        """The process of each lease that has the device, or has yielded it."""
        self.residents: dict[tuple[str, str], Resident] = {}
        self.lingering: dict[str, int] = {}
        """Bytes by process that ended leases may have left behind."""
        self.foreign = 0
        """Bytes of processes that the arbiter does not know."""
        self.gone = False
        """The device does not answer any more: nothing of it is granted."""
        self.marks = 0
        """How often memory has begun to be awaited, so that a reading from before is not taken for a sign that it is free."""
        self.excess = 0
        """Bytes that known processes have beyond what they have declared."""

    @property
    def capacity(self) -> int:
        """Bytes of the device."""
        return self.device.memory_bytes

    @property
    def used(self) -> int:
        """Bytes that cannot be granted."""
        loaded = sum(resident.size for resident in self.residents.values())
        of_leases = sum(self.working.values()) + sum(self.kept.values())
        return of_leases + loaded + sum(self.lingering.values()) + self.excess + self.foreign

    @property
    def free(self) -> int:
        """Bytes that can be granted; below 0 if other processes use more than was left."""
        return self.capacity - self.used

    def need(self, demand: Demand) -> int:
        """Bytes that a demand takes beyond a model that is loaded already."""
        resident = self.residents.get(demand.key) if demand.key else None
        if resident is None:
            return demand.peak
        return max(max(demand.peak, resident.host_bytes) - resident.size, 0)

    def is_resident(self, demand: Demand) -> bool:
        """The model of a demand is loaded, and stays."""
        resident = self.residents.get(demand.key) if demand.key else None
        return resident is not None and resident.residence is Residence.LOADED

    def is_leaving(self, demand: Demand) -> bool:
        """The model of a demand is being unloaded or offloaded, so that a lease for it has to wait until that is over."""
        resident = self.residents.get(demand.key) if demand.key else None
        return resident is not None and resident.is_leaving

    def is_offloading(self, demand: Demand) -> bool:
        """The model of a demand is being offloaded, while leases use it."""
        resident = self.residents.get(demand.key) if demand.key else None
        return resident is not None and resident.is_leaving and bool(resident.users)

    def has_place(self, demand: Demand) -> bool:
        """No lease excludes another one."""
        if self.gone or self.exclusive or (demand.exclusive and self.working):
            return False
        return not self.is_leaving(demand)

    def fits(self, lease: str, demand: Demand) -> bool:
        """The demand of a lease can be granted now."""
        if demand.evicts and any(not each.users and not each.in_host_memory for each in self._others(demand)):
            return False
        return self.has_place(demand) and (not demand.peak or self.need(demand) <= self.free + self.kept.get(lease, 0))

    def victims(self, lease: str, demand: Demand, now: float, *, offload: bool = False) -> list[Resident] | None:
        """The models that leave to let a demand fit, besides those that are leaving; None: that is not enough.

        They are idle ones, to unload. `offload`: and if these are too few, those whose leases have yielded, to offload. A demand
        that evicts takes all idle ones, enough or not: they may have more than they have declared.
        """
        short = self.need(demand) - self.free - self.kept.get(lease, 0) if demand.peak else 0
        short -= sum(each.size for each in self.leaving if now - each.since < UNLOAD_SECONDS)
        idle = [each for each in self._others(demand) if each.idle]
        parked = [each for each in self._others(demand) if each.may_offload] if offload else []
        needed = least_worth([*idle, *parked], short, now)
        if needed is None:
            return idle if demand.evicts and idle else None
        return [*idle, *(each for each in needed if each.users)] if demand.evicts else needed

    def grant(self, lease: str, demand: Demand, now: float) -> None:
        """Takes the memory of a demand for a lease."""
        need = self.need(demand)
        if demand.exclusive:
            self.exclusive = lease
        if demand.key:
            resident = self.residents.get(demand.key)
            if resident is None:  # the lease loads it
                resident = Resident(demand.owner, demand.model, demand.memory, demand.reload_seconds, now)
                self.residents[demand.key] = resident
                need -= demand.memory
            elif resident.residence is Residence.OFFLOADED:  # the lease restores it
                resident.residence, resident.size, resident.host_bytes = Residence.LOADED, resident.host_bytes, 0
                need -= resident.size
            resident.users.add(lease)
            resident.parked.discard(lease)
            resident.last_used = now
            resident.reload_seconds = demand.reload_seconds
        self.kept.pop(lease, None)
        self.working[lease], self._owners[lease] = need, demand.owner

    def pause(self, lease: str, demand: Demand) -> None:
        """The lease has yielded: its working memory is free, and what stays allocated is not."""
        self.working.pop(lease, None)
        if self.exclusive == lease:
            self.exclusive = ""
        if not demand.key and demand.memory:
            self.kept[lease] = demand.memory

    def park(self, lease: str, demand: Demand) -> None:
        """The lease has yielded, and can offload its model meanwhile."""
        resident = self.residents.get(demand.key) if demand.key else None
        if resident is not None and lease in resident.users:
            resident.parked.add(lease)

    def offloaded(self, lease: str, demand: Demand, now: float, ask: int, *, certain: bool) -> None:
        """The model of a lease that has yielded has been offloaded, by the request with this number. Not `certain`: that has
        failed, and it is not asked for again until the lease has come back."""
        resident = self.residents.get(demand.key) if demand.key else None
        if resident is None or resident.residence is not Residence.OFFLOADING or resident.ask != ask:
            return
        if not certain:
            resident.residence, resident.since, resident.offload_failed = Residence.LOADED, now, True
            resident.parked.clear()
            return
        resident.host_bytes, resident.since, resident.readings = resident.size, now, 0
        if self.observed:
            resident.residence = Residence.UNOBSERVED
            self.marks += 1
        else:
            resident.residence, resident.size = Residence.OFFLOADED, 0

    def keep(self, lease: str, demand: Demand, size: int) -> bool:
        """The model of a lease stays loaded with these bytes, or all of the device. Returns whether the stream of the lease goes on
        for it."""
        resident = self.residents.get(demand.key) if demand.key else None
        if resident is None or resident.residence is not Residence.LOADED:
            return False
        resident.size, resident.keeper = min(size, self.capacity), resident.keeper or lease
        return resident.keeper == lease

    def release(self, lease: str, demand: Demand, now: float, *, certain: bool) -> None:
        """Ends a lease, in any state in which it had the device.

        If it is not `certain` that the holder has freed its memory, and the device is observed, that lingers until the device shows
        that it is free.
        """
        left = self.working.pop(lease, 0) + self.kept.pop(lease, 0)
        self._owners.pop(lease, None)
        if self.exclusive == lease:
            self.exclusive = ""
        resident = self.residents.get(demand.key) if demand.key else None
        if resident is not None:
            resident.users.discard(lease)
            resident.parked.discard(lease)
            resident.last_used = now
            if not resident.users and not resident.keeper:
                self._remove(resident)
            elif not resident.users and resident.residence is Residence.OFFLOADING:
                # No lease answers the request any more. The model is idle, and may be unloaded.
                resident.residence, resident.since = Residence.LOADED, now
        if not certain:
            self._leave_behind(demand.owner, left)

    def ask(self, resident: Resident, now: float, number: int) -> None:
        """The owner of a model is asked to unload it, or to offload it if leases use it. `number` is above those before."""
        resident.residence = Residence.OFFLOADING if resident.users else Residence.UNLOADING
        resident.since, resident.ask = now, number

    def unloaded(self, keeper: str, demand: Demand, now: float, *, certain: bool) -> None:
        """The model that a lease was kept for has been unloaded, or no process answers for it any more."""
        resident = self.residents.get(demand.key) if demand.key else None
        if resident is None or resident.keeper != keeper:
            return
        resident.keeper = ""
        if resident.users:
            return
        if self.observed and certain:
            resident.residence, resident.since, resident.readings = Residence.UNOBSERVED, now, 0
            self.marks += 1
        else:
            self._remove(resident)

    def observe(self, used: Mapping[str, int], foreign: int, marks: int | None = None) -> None:
        """What the device shows: bytes by known process, and those of all others together.

        What a process has left behind or unloaded is free when it has no more than its other models. What it has beyond all that it
        has declared is not granted either. `marks` is what `marks` was when the device was read; None: it was read now.
        """
        self.observed, self.foreign, self.gone = True, foreign, False
        self.lingering.pop("", None)  # of an unknown process: now part of `foreign`
        if marks in (None, self.marks):
            self._see_free(used)
        self.excess = sum(max(size - self.declared(owner), 0) for owner, size in used.items())

    def _see_free(self, used: Mapping[str, int]) -> None:
        """Of what a process has unloaded or left behind, at most what it has beyond its models may still be there.

        If models are larger than declared, that does not fall to nothing. So it is not attributed to an unloaded model for ever.
        """
        unobserved = [each for each in self.residents.values() if each.residence is Residence.UNOBSERVED]
        for owner in {*self.lingering, *(each.owner for each in unobserved)}:
            beyond = max(used.get(owner, 0) - self._staying(owner), 0)
            behind = self.lingering.pop(owner, 0)
            for resident in (each for each in unobserved if each.owner == owner):
                resident.size, resident.readings = min(resident.size, beyond), resident.readings + 1
                if not resident.size or resident.readings >= ATTRIBUTED_READINGS:
                    behind += resident.size
                    self._leave(resident)
                else:
                    beyond -= resident.size
            if left := min(behind, beyond):
                self.lingering[owner] = left

    @property
    def awaits_memory(self) -> bool:
        """Memory of unloaded models or of ended leases is granted when the device shows it as free."""
        return bool(self.lingering) or any(each.residence is Residence.UNOBSERVED for each in self.residents.values())

    @property
    def leaving(self) -> list[Resident]:
        """The models that are being unloaded or offloaded."""
        return [each for each in self.residents.values() if each.is_leaving]

    def _others(self, demand: Demand) -> list[Resident]:
        """The models besides that of a demand."""
        return [each for each in self.residents.values() if (each.owner, each.model) != demand.key]

    def _staying(self, owner: str) -> int:
        """Bytes that a process may have by its models that are not unloaded yet."""
        staying = (each for each in self.residents.values() if each.residence is not Residence.UNOBSERVED)
        return sum(each.size for each in staying if each.owner == owner)

    def declared(self, owner: str) -> int:
        """All bytes that are counted for a process."""
        models = sum(each.size for each in self.residents.values() if each.owner == owner)
        leases = (lease for lease, its_owner in self._owners.items() if its_owner == owner)
        of_leases = sum(self.working.get(lease, 0) + self.kept.get(lease, 0) for lease in leases)
        return models + of_leases + self.lingering.get(owner, 0)

    def _leave(self, resident: Resident) -> None:
        """The device has shown that a model is no longer there: it was unloaded, or offloaded while leases use it."""
        if resident.users:
            resident.residence, resident.size = Residence.OFFLOADED, 0
        else:
            del self.residents[resident.owner, resident.model]

    def _remove(self, resident: Resident) -> None:
        del self.residents[resident.owner, resident.model]
        self._leave_behind(resident.owner, resident.size)

    def _leave_behind(self, owner: str, size: int) -> None:
        if self.observed and size:
            self.marks += 1
            self.lingering[owner] = self.lingering.get(owner, 0) + size
