"""A model that a process keeps loaded on a device: where it is in its life, and which models leave first for others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

UNLOAD_SECONDS = 30.0
"""How long an unloading is waited for before other models are chosen besides."""


class Residence(Enum):
    """Where a loaded model is in its life."""

    LOADED = "loaded"
    UNLOADING = "unloading"
    """Its owner was asked to unload it."""
    OFFLOADING = "offloading"
    """The leases that use it have yielded, and were asked to offload it to host memory."""
    UNOBSERVED = "unobserved"
    """Its owner has unloaded or offloaded it, and the device has not shown that yet."""
    OFFLOADED = "offloaded"
    """It is in host memory, and takes none of the device. A lease that is granted for it restores it."""


@dataclass(slots=True, eq=False)
class Resident:
    """A model that a process keeps loaded on a device."""

    owner: str
    """The process."""
    model: str
    """Its name; unique within the process."""
    size: int
    """Bytes of the device."""
    reload_seconds: float
    """How long it takes to load it again."""
    last_used: float
    """When the latest lease for it ended or was granted."""
    users: set[str] = field(default_factory=set)
    """The leases that use it, yielded ones included. It is not unloaded while there are any."""
    parked: set[str] = field(default_factory=set)
    """Those of them that have yielded, and can offload it meanwhile."""
    host_bytes: int = 0
    """Bytes that it takes of the device again when it is restored from host memory."""
    ask: int = 0
    """The number of the latest request to unload or offload it."""
    offload_failed: bool = False
    """Its latest offloading has failed."""
    residence: Residence = Residence.LOADED
    since: float = 0.0
    """When it became what `residence` says."""
    readings: int = 0
    """How often the device was read since its owner has unloaded it."""
    keeper: str = ""
    """The lease whose stream goes on for it; empty: it ends with the last lease that uses it."""

    @property
    def idle(self) -> bool:
        """It is loaded, and no lease uses it."""
        return self.residence is Residence.LOADED and not self.users

    @property
    def may_offload(self) -> bool:
        """It is loaded, and all leases that use it have yielded and can offload it."""
        return self.residence is Residence.LOADED and bool(self.users) and self.users <= self.parked

    @property
    def is_leaving(self) -> bool:
        """It is being unloaded or offloaded."""
        return self.residence not in (Residence.LOADED, Residence.OFFLOADED)

    @property
    def in_host_memory(self) -> bool:
        """It takes none of the device."""
        return self.residence is Residence.OFFLOADED

    def worth_unloading(self, now: float) -> float:
        """Size x idle time / reload time: the greatest is unloaded first."""
        return self.size * max(now - self.last_used, 1e-3) / max(self.reload_seconds, 1e-3)


def least_worth(residents: Iterable[Resident], short: int, now: float) -> list[Resident] | None:
    """The models to unload or offload to free `short` bytes: those without users first. None: all together are too few."""
    chosen: list[Resident] = []
    for resident in sorted(residents, key=lambda each: (bool(each.users), -each.worth_unloading(now))):
        if short <= 0:
            break
        chosen.append(resident)
        short -= resident.size
    return None if short > 0 else _without_needless(chosen, -short)


def _without_needless(chosen: list[Resident], spare: int) -> list[Resident]:
    """The models without those that a larger one, chosen later, has made needless."""
    needed = list(chosen)
    for resident in chosen:
        if resident.size <= spare:
            needed.remove(resident)
            spare -= resident.size
    return needed
