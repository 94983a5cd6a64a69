"""Who may use which GPU: the arbiter's decisions as a state machine over plain values and an explicit clock.

Every call takes the time in seconds (of any steady clock) and returns the frames to deliver, each with the id of the
lease it is for. Nothing here waits, knows a stream or reads a clock, so whole schedules are tested in microseconds.

The rules:

* A device has at most one holder. Every grant of it raises its fencing token, and so does an expiry.
* First come first served within a priority. A level of priority is worth `ageing` seconds in the queue: nobody starves.
* A holder that yielded resumes on its own device, ahead of everybody who never held it.
* A lease expires when its holder gives no sign of life for the TTL, and a lease that holds nothing (yielded, or queued
  to resume) when its stream has been lost for that long. A holder in the arbiter's own process (`local`) lives as long
  as its stream.
* A waiter whose stream is lost is forgotten at once. Nobody but the holder, or the TTL, ends a lease.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from lanemesh.gpu import frames
from lanemesh.gpu.errors import lease_error
from lanemesh.times import duration, seconds_of, span
from lanemesh.v1 import gpu_pb2

Frames = list[tuple[str, gpu_pb2.LeaseResponse]]
"""Frames to deliver, in order, each with the id of its lease."""

TTL = 30.0
"""Seconds that a lease lives without a sign of life, unless told otherwise."""
WAIT_TIMEOUT = 300.0
"""Longest wait for a device in seconds, unless the request says otherwise."""
AGEING = 60.0
"""Seconds in the queue that one level of priority is worth."""
MAX_WAITERS = 4096
"""Most requests in the queue at a time; further ones are refused."""


class State(Enum):
    """Where a lease is in its life."""

    WAITING = "waiting"
    HELD = "held"
    YIELDED = "yielded"
    RESUMING = "resuming"


@dataclass(slots=True, eq=False)
class _Lease:
    """One lease, from the request to its end."""

    id: str
    holder: gpu_pb2.LeaseHolder
    selector: str
    """The device that will do; empty: any. Once granted, the device it had, since its memory is there."""
    head_start: float
    """Seconds by which its priority puts it ahead in the queue."""
    wait_timeout: float
    local: bool
    arrival: int
    """Counts requests; breaks ties."""
    asked_at: float
    state: State = State.WAITING
    connected: bool = True
    token: int = 0
    earlier_token: int = 0
    """The token before the latest grant, until a sign of life shows that the grant has arrived."""
    held_since: float = 0.0
    expires_at: float = math.inf
    told_position: int = 0
    told_waiting: int = 0

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Its place in the queue: resuming ones first, then by time asked less the head start."""
        return (self.state is not State.RESUMING, self.asked_at - self.head_start, self.arrival)

    @property
    def deadline(self) -> float:
        """When something must be decided about it."""
        if self.state in (State.WAITING, State.RESUMING):
            return min(self.expires_at, self.asked_at + self.wait_timeout)
        return self.expires_at


class ArbiterCore:
    """The arbiter's state. All methods that may raise do so before anything has changed."""

    def __init__(
        self, devices: Iterable[gpu_pb2.Device], *, ttl: float = TTL, ageing: float = AGEING, first_token: int = 0
    ) -> None:
        self.devices = {device.id: device for device in devices}
        self.ttl = ttl
        self._ageing = ageing
        self._tokens = dict.fromkeys(self.devices, first_token)
        self._leases: dict[str, _Lease] = {}
        self._queue: list[_Lease] = []
        self._holders: dict[str, _Lease] = {}
        self._arrivals = 0

    # What holders and waiters say

    def acquire(self, now: float, lease_id: str, request: gpu_pb2.LeaseAcquire, *, local: bool = False) -> Frames:
        """Asks for a device under a new lease id. Raises `LeaseError` if it can never be granted."""
        if not self.devices:
            raise lease_error(
                "no-such-device", "There is no GPU here; set LANEMESH_GPUS (such as sim:0=24GiB) to simulate one."
            )
        if request.device and request.device not in self.devices:
            known = ", ".join(self.devices)
            raise lease_error(
                "no-such-device",
                f"There is no GPU {request.device} here; there is {known}. Ask for one of these, or any.",
            )
        if len(self._queue) >= MAX_WAITERS:
            raise lease_error(
                "queue-full", f"{MAX_WAITERS} requests wait for a GPU already, which is the limit; try again later."
            )
        self._arrivals += 1
        lease = _Lease(
            id=lease_id,
            holder=request.holder,
            selector=request.device,
            head_start=request.priority * self._ageing,
            wait_timeout=seconds_of(request.wait_timeout) if request.HasField("wait_timeout") else WAIT_TIMEOUT,
            local=local,
            arrival=self._arrivals,
            asked_at=now,
        )
        self._leases[lease_id] = lease
        insort(self._queue, lease, key=lambda waiter: waiter.rank)
        return self._settle(now)

    def reclaim(self, now: float, lease_id: str, token: int, *, local: bool = False) -> Frames:
        """Goes on with a lease on a new stream. Raises `LeaseLost` if it has ended or the token is not its latest."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.state is State.WAITING:
            raise lease_error(
                "expired", "The lease cannot be taken up again: it has expired, or the arbiter has started anew."
            )
        # A holder whose stream broke while a grant was on its way knows the token before; the device is its own
        # all the same.
        if token != lease.token and not (lease.earlier_token and token == lease.earlier_token):
            raise lease_error(
                "stale-token", f"Fencing token {token} is not the latest of this lease; it has been taken up elsewhere."
            )
        lease.connected, lease.local = True, local
        lease.told_position = lease.told_waiting = 0
        self._revive(now, lease)
        if lease.state is State.HELD:
            return [(lease_id, self._granted(lease)), *self._settle(now)]
        if lease.state is State.YIELDED:
            return [(lease_id, frames.YIELDED)]
        return self._settle(now)

    def keepalive(self, now: float, lease_id: str) -> Frames:
        """The holder lives. Answered with `granted` under the same token, so that the holder knows it was heard."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.state is not State.HELD:
            return []
        lease.earlier_token = 0
        self._revive(now, lease)
        return [(lease_id, self._granted(lease))]

    def pause(self, now: float, lease_id: str) -> Frames:
        """The holder yields: others may use the device meanwhile. One that waits to resume gives up its place."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.state is State.WAITING:
            return []
        if lease.state is State.HELD:
            del self._holders[lease.selector]
        elif lease.state is State.RESUMING:
            self._queue.remove(lease)
        lease.state, lease.earlier_token, lease.told_waiting = State.YIELDED, 0, 0
        self._revive(now, lease)
        return [(lease_id, frames.YIELDED), *self._settle(now)]

    def resume(self, now: float, lease_id: str) -> Frames:
        """The holder wants its device back: ahead of newcomers, under a new token."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.state is State.HELD:
            return [(lease_id, self._granted(lease))]
        if lease.state is State.YIELDED:
            lease.state, lease.asked_at, lease.told_position = State.RESUMING, now, 0
            insort(self._queue, lease, key=lambda waiter: waiter.rank)
        return self._settle(now)

    def release(self, now: float, lease_id: str) -> Frames:
        """The holder is done, or the waiter does not want it any more."""
        lease = self._leases.get(lease_id)
        return [] if lease is None else [*self._end(lease, "released", "The lease was released."), *self._settle(now)]

    def lose(self, now: float, lease_id: str) -> Frames:
        """The stream of a lease is gone: the TTL starts. A mere waiter is forgotten."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.state is State.WAITING:
            self._end(lease, "released", "")
            return self._settle(now)
        lease.connected = False
        lease.expires_at = now + self.ttl
        return []

    # What time does

    def next_deadline(self) -> float | None:
        """When `tick` has something to decide; None if nothing is due without further calls."""
        soonest = min((lease.deadline for lease in self._leases.values()), default=math.inf)
        return soonest if math.isfinite(soonest) else None

    def tick(self, now: float) -> Frames:
        """Expires leases without a sign of life and ends waits that took too long."""
        due = [lease for lease in self._leases.values() if lease.deadline <= now]
        if not due:
            return []
        told: Frames = []
        for lease in due:
            if lease.expires_at <= now:
                told += self._end(
                    lease,
                    "expired",
                    f"The lease of {lease.selector} expired: no sign of life from its holder for {self.ttl:g} s.",
                )
                self._tokens[lease.selector] += 1
                continue
            what = f"GPU {lease.selector}" if lease.selector else "a GPU"
            blockers = frames.leases_text(self._holding(now, lease))
            told += self._end(
                lease, "wait-timeout", f"Waited {span(now - lease.asked_at)} for {what} in vain: {blockers}."
            )
        return told + self._settle(now)

    def shutdown(self) -> Frames:
        """Ends every lease and every wait."""
        return [
            frame
            for lease in list(self._leases.values())
            for frame in self._end(lease, "shutdown", "The GPU arbiter was stopped.")
        ]

    # What can be seen

    def status(self, now: float) -> list[gpu_pb2.DeviceStatus]:
        """Each device with its leases (the holder's first) and who waits for it, first in line first."""
        return [
            gpu_pb2.DeviceStatus(
                device=device,
                leases=[
                    self._lease_status(now, lease)
                    for lease in sorted(self._leases.values(), key=lambda lease: lease.state is not State.HELD)
                    if lease.state is not State.WAITING and lease.selector == device.id
                ],
                waiting=[lease.holder for lease in self._queue if lease.selector in ("", device.id)],
            )
            for device in self.devices.values()
        ]

    # How it decides

    def _settle(self, now: float) -> Frames:
        """Grants what can be granted, then tells places in the queue and how many want each device."""
        told: Frames = []
        for lease in list(self._queue):
            if len(self._holders) == len(self.devices):
                break
            device = self._free_device(lease) if lease.connected else None
            if device is not None:
                told.append(self._grant(now, lease, device))
        return [*told, *self._notify_waiters(now), *self._notify_holders()]

    def _free_device(self, lease: _Lease) -> str | None:
        """The free device that fits; of several, the one to which fewest yielded leases will want to return."""
        fitting = [lease.selector] if lease.selector else self.devices
        free = [device for device in fitting if device not in self._holders]
        if len(free) < 2:
            return free[0] if free else None
        yielded = Counter(other.selector for other in self._leases.values() if other.state is not State.WAITING)
        return min(free, key=lambda device: yielded[device])

    def _grant(self, now: float, lease: _Lease, device: str) -> tuple[str, gpu_pb2.LeaseResponse]:
        self._queue.remove(lease)
        self._holders[device] = lease
        self._tokens[device] += 1
        lease.state, lease.selector, lease.held_since = State.HELD, device, now
        lease.earlier_token, lease.token = lease.token, self._tokens[device]
        lease.told_waiting = 0
        self._revive(now, lease)
        return lease.id, self._granted(lease)

    def _revive(self, now: float, lease: _Lease) -> None:
        """Counts a sign of life. The TTL runs only for remote holders and lost streams."""
        ticking = not lease.connected or (lease.state is State.HELD and not lease.local)
        lease.expires_at = now + self.ttl if ticking else math.inf

    def _end(self, lease: _Lease, reason: str, message: str) -> Frames:
        """Forgets a lease, whatever it was doing, and tells its stream if there is one."""
        del self._leases[lease.id]
        if lease.state is State.HELD:
            del self._holders[lease.selector]
        elif lease.state is not State.YIELDED:
            self._queue.remove(lease)
        return [(lease.id, frames.revoked(reason, message))] if lease.connected else []

    def _notify_waiters(self, now: float) -> Iterator[tuple[str, gpu_pb2.LeaseResponse]]:
        ahead: Counter[str] = Counter()
        for place, lease in enumerate(self._queue, 1):
            position = ahead[lease.selector] + ahead[""] + 1 if lease.selector else place
            ahead[lease.selector] += 1
            if lease.connected and position != lease.told_position:
                lease.told_position = position
                queued = gpu_pb2.LeaseQueued(position=position, holders=self._holding(now, lease))
                yield lease.id, gpu_pb2.LeaseResponse(queued=queued)

    def _notify_holders(self) -> Iterator[tuple[str, gpu_pb2.LeaseResponse]]:
        wanted = Counter(lease.selector for lease in self._queue if lease.connected)
        for device, lease in self._holders.items():
            waiting = wanted[device] + wanted[""]
            if lease.connected and waiting != lease.told_waiting:
                lease.told_waiting = waiting
                yield lease.id, gpu_pb2.LeaseResponse(wanted=gpu_pb2.LeaseWanted(waiting=waiting))

    def _holding(self, now: float, waiter: _Lease) -> list[gpu_pb2.LeaseStatus]:
        """Who holds what a waiter waits for."""
        return [
            self._lease_status(now, lease) for device, lease in self._holders.items() if waiter.selector in ("", device)
        ]

    def _granted(self, lease: _Lease) -> gpu_pb2.LeaseResponse:
        return gpu_pb2.LeaseResponse(
            granted=gpu_pb2.LeaseGranted(
                lease_id=lease.id,
                device=self.devices[lease.selector],
                fencing_token=lease.token,
                ttl=duration(self.ttl),
            )
        )

    def _lease_status(self, now: float, lease: _Lease) -> gpu_pb2.LeaseStatus:
        return gpu_pb2.LeaseStatus(
            lease_id=lease.id,
            holder=lease.holder,
            device=lease.selector,
            age=duration(now - lease.held_since),
            fencing_token=lease.token,
            yielded=lease.state is not State.HELD,
        )
