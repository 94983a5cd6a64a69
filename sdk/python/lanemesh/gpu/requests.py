"""The requests of leases in the arbiter: what was asked, where it is in its life, and its rank in the queue."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from lanemesh.gpu.errors import lease_error
from lanemesh.gpu.memory import RELOAD_SECONDS, Demand
from lanemesh.times import seconds_of
from lanemesh.v1 import gpu_pb2

WAIT_TIMEOUT = 300.0
"""Default maximum wait for a device in seconds."""
MAX_COUNT = 64
"""Most devices of one request."""
MAX_NAME = 1000
"""Longest name of a model or a process, in characters."""


class State(Enum):
    """Where a lease is in its life."""

    WAITING = "waiting"
    HELD = "held"
    YIELDED = "yielded"
    RESUMING = "resuming"
    KEPT = "kept"
    """It has ended, and its stream goes on for the model that stays loaded."""


_IN_QUEUE = (State.WAITING, State.RESUMING)


@dataclass(slots=True, eq=False)
class LeaseRecord:
    """One lease, from the request to its end."""

    id: str
    holder: gpu_pb2.LeaseHolder
    demand: Demand
    eligible: tuple[str, ...]
    """The devices that will do. Once granted, those that it had, since its memory is there."""
    count: int
    """Number of devices."""
    named: str
    """The device that was named, or granted; empty: any."""
    priority: int
    head_start: float
    """Seconds by which its priority puts it ahead in the queue."""
    preempts: bool
    wait_timeout: float
    local: bool
    arrival: int
    """Counts requests; breaks ties."""
    asked_at: float
    request: gpu_pb2.LeaseAcquire = field(default_factory=gpu_pb2.LeaseAcquire)
    """What was asked."""
    purpose: str = ""
    """What its holder does with it, for people."""
    state: State = State.WAITING
    connected: bool = True
    devices: tuple[str, ...] = ()
    """The devices that it was granted, also while it has yielded them."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Its fencing token of each device."""
    resident: frozenset[str] = frozenset()
    """Its devices on which its model was loaded when it was granted."""
    earlier_token: int = 0
    """The token of the first device before the latest grant, until a sign of life shows that the grant has arrived."""
    held_since: float = 0.0
    expires_at: float = math.inf
    revoke_at: float = math.inf
    """When a request of a higher priority takes its devices."""
    bypassed: int = 0
    """How many later requests were granted while it was the first one that waited for its devices."""
    reported_position: int = 0
    reported_waiting: int = 0
    reported_obstacles: tuple[str, ...] = ()
    """What was in the way when its position was reported."""

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Its position in the queue: resuming ones first, then by request time minus the head start."""
        return (self.state is not State.RESUMING, self.asked_at - self.head_start, self.arrival)

    @property
    def deadline(self) -> float:
        """When something must be decided about it."""
        other = self.asked_at + self.wait_timeout if self.state in _IN_QUEUE else self.revoke_at
        return other if other < self.expires_at else self.expires_at

    @property
    def place(self) -> str:
        """The only device that will do; empty: several will."""
        return self.eligible[0] if len(self.eligible) == 1 else ""

    @property
    def token(self) -> int:
        """The fencing token of its first device; 0 before the first grant."""
        return self.tokens[self.devices[0]] if self.tokens else 0

    @property
    def signature(self) -> tuple[Demand, tuple[str, ...], int]:
        """Two requests with the same one can be granted in the same situations."""
        return self.demand, self.eligible, self.count


def demand_of(request: gpu_pb2.LeaseAcquire, seen: int = 0) -> Demand:
    """What a request needs of each device. `seen`: the most bytes that earlier leases for its model had.

    Raises:
        LeaseError: it contradicts itself.
    """
    memory, peak = request.memory_bytes, request.peak_bytes or request.memory_bytes
    if peak < memory:
        raise _bad(f"its peak of {peak:,} bytes is below its memory of {memory:,} bytes")
    if request.model and not memory:
        raise _bad(f'it is for the model "{request.model}", but gives no memory_bytes')
    if max(len(request.model), len(request.owner), len(request.purpose)) > MAX_NAME:
        raise _bad(f"the name of its model or its owner, or its purpose, is longer than {MAX_NAME} characters")
    reload = seconds_of(request.reload_time) if request.HasField("reload_time") else RELOAD_SECONDS
    if reload < 0:
        raise _bad(f"its reload time is {reload:g} s")
    return Demand(
        exclusive=request.exclusive or not peak,
        memory=memory,
        peak=max(peak, seen) if peak else 0,
        owner=request.owner,
        model=request.model,
        reload_seconds=reload,
        evicts=request.evicts,
        several=request.count > 1,
    )


def eligible_of(
    request: gpu_pb2.LeaseAcquire, demand: Demand, devices: Mapping[str, gpu_pb2.Device]
) -> tuple[tuple[str, ...], int]:
    """The devices that will do for a request, and how many of them it takes.

    Raises:
        NoSuchDevice: there is no such device, or there are too few.
        LeaseError: it needs more memory than any device has, or contradicts itself.
    """
    count = max(request.count, 1)
    if not devices:
        raise lease_error(
            "no-such-device", "There is no GPU here; set LANEMESH_GPUS (such as sim:0=24GiB) to simulate one."
        )
    known = ", ".join(devices)
    if request.device and request.device not in devices:
        raise lease_error(
            "no-such-device",
            f"There is no GPU {request.device} here; there is {known}. Request one of these, or any.",
        )
    if request.device and count > 1:
        raise _bad(f"it asks for {count} devices and names one; leave device empty")
    if count > min(len(devices), MAX_COUNT):
        raise lease_error(
            "no-such-device",
            f"{count} GPUs are requested together, and there are {len(devices)}: {known}. Request fewer.",
        )
    named: Collection[str] = [request.device] if request.device else list(devices)
    large = tuple(name for name in named if demand.peak <= devices[name].memory_bytes)
    if len(large) < count:
        have = ", ".join(f"{name} has {devices[name].memory_bytes:,}" for name in named)
        raise lease_error(
            "too-large",
            f"{demand.peak:,} bytes are requested, and no wait can give them: {have}. Request less, or use a larger GPU.",
        )
    return large, count


def _bad(what: str) -> Exception:
    return lease_error("bad-request", f"The request of a GPU lease is invalid: {what}.")
