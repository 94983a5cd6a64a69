"""The arbiter's decisions: a state machine over plain values and an explicit clock.

Every call takes the time in seconds (of any steady clock) and returns the frames to deliver, each with the id of the
lease it is for. Nothing here waits, knows a stream or reads a clock, so whole schedules are tested in microseconds.

The rules:

* A device has at most one holder. Every grant of it raises its fencing token, and so does an expiry.
* First come first served within a priority. A level of priority equals `ageing` seconds in the queue, so no request starves.
* A holder that yielded resumes on its own device, ahead of new requests.
* A lease expires when its holder sends no heartbeat for the TTL. A lease without the device (yielded, or queued to resume) expires
  when its stream has been lost for that time. A holder in the arbiter's own process (`local`) lives as long as its stream.
* A waiter whose stream is lost is removed at once. Only the holder, or the TTL, ends a lease.
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
"""Default TTL of a lease in seconds."""
WAIT_TIMEOUT = 300.0
"""Default maximum wait for a device in seconds."""
AGEING = 60.0
"""Seconds in the queue that one level of priority is worth."""
MAX_WAITERS = 4096
"""Maximum number of requests in the queue; further ones are rejected."""


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
    reported_position: int = 0
    reported_waiting: int = 0

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Its position in the queue: resuming ones first, then by request time minus the head start."""
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

    # Frames of holders and waiters

    def acquire(self, now: float, lease_id: str, request: gpu_pb2.LeaseAcquire, *, local: bool = False) -> Frames:
        """Requests a device under a new lease id. Raises `LeaseError` if it can never be granted."""
        if not self.devices:
            raise lease_error(
                "no-such-device", "There is no GPU here; set LANEMESH_GPUS (such as sim:0=24GiB) to simulate one."
            )
        if request.device and request.device not in self.devices:
            known = ", ".join(self.devices)
            raise lease_error(
                "no-such-device",
                f"There is no GPU {request.device} here; there is {known}. Request one of these, or any.",
            )
        if len(self._queue) >= MAX_WAITERS:
            raise lease_error(
                "queue-full", f"{MAX_WAITERS} requests already wait for a GPU, which is the limit; retry later."
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
        """Continues a lease on a new stream. Raises `LeaseLost` if it has ended or the token is not its latest."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.state is State.WAITING:
            raise lease_error("expired", "The lease cannot be reclaimed: it has expired, or the arbiter has restarted.")
        # A holder whose stream broke while a grant was on its way knows the token before; the device is its own
        # all the same.
        if token != lease.token and not (lease.earlier_token and token == lease.earlier_token):
            raise lease_error(
                "stale-token",
                f"Fencing token {token} is not the latest of this lease; another stream has reclaimed it.",
            )
        lease.connected, lease.local = True, local
        lease.reported_position = lease.reported_waiting = 0
        self._revive(now, lease)
        if lease.state is State.HELD:
            return [(lease_id, self._granted(lease)), *self._settle(now)]
        if lease.state is State.YIELDED:
            return [(lease_id, frames.YIELDED)]
        return self._settle(now)

    def keepalive(self, now: float, lease_id: str) -> Frames:
        """Processes a heartbeat of the holder. The response is `granted` with the same token."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.state is not State.HELD:
            return []
        lease.earlier_token = 0
        self._revive(now, lease)
        return [(lease_id, self._granted(lease))]

    def pause(self, now: float, lease_id: str) -> Frames:
        """The holder yields: others may use the device meanwhile. A lease that waits to resume leaves the queue."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.state is State.WAITING:
            return []
        if lease.state is State.HELD:
            del self._holders[lease.selector]
        elif lease.state is State.RESUMING:
            self._queue.remove(lease)
        lease.state, lease.earlier_token, lease.reported_waiting = State.YIELDED, 0, 0
        self._revive(now, lease)
        return [(lease_id, frames.YIELDED), *self._settle(now)]

    def resume(self, now: float, lease_id: str) -> Frames:
        """Requests the device again after a yield: ahead of new requests, with a new token."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.state is State.HELD:
            return [(lease_id, self._granted(lease))]
        if lease.state is State.YIELDED:
            lease.state, lease.asked_at, lease.reported_position = State.RESUMING, now, 0
            insort(self._queue, lease, key=lambda waiter: waiter.rank)
        return self._settle(now)

    def release(self, now: float, lease_id: str) -> Frames:
        """The holder is done, or the waiter does not want it any more."""
        lease = self._leases.get(lease_id)
        return [] if lease is None else [*self._end(lease, "released", "The lease was released."), *self._settle(now)]

    def lose(self, now: float, lease_id: str) -> Frames:
        """The stream of a lease is lost: the TTL starts. A waiting request is removed."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.state is State.WAITING:
            self._end(lease, "released", "")
            return self._settle(now)
        lease.connected = False
        lease.expires_at = now + self.ttl
        return []

    # Timers

    def next_deadline(self) -> float | None:
        """When `tick` has something to decide; None if nothing is due without further calls."""
        soonest = min((lease.deadline for lease in self._leases.values()), default=math.inf)
        return soonest if math.isfinite(soonest) else None

    def tick(self, now: float) -> Frames:
        """Expires leases without a sign of life and ends waits that took too long."""
        due = [lease for lease in self._leases.values() if lease.deadline <= now]
        if not due:
            return []
        outgoing: Frames = []
        for lease in due:
            if lease.expires_at <= now:
                outgoing += self._end(
                    lease,
                    "expired",
                    f"The lease of {lease.selector} expired: its holder sent no heartbeat for {self.ttl:g} s.",
                )
                self._tokens[lease.selector] += 1
                continue
            what = f"GPU {lease.selector}" if lease.selector else "a GPU"
            blockers = frames.leases_text(self._holding(now, lease))
            outgoing += self._end(lease, "wait-timeout", f"Waited {span(now - lease.asked_at)} for {what}: {blockers}.")
        return outgoing + self._settle(now)

    def shutdown(self) -> Frames:
        """Ends every lease and every wait."""
        return [
            frame
            for lease in list(self._leases.values())
            for frame in self._end(lease, "shutdown", "The GPU arbiter was stopped.")
        ]

    # Queries

    def status(self, now: float) -> list[gpu_pb2.DeviceStatus]:
        """Each device with its leases (the holder's first) and its waiting requesters, in the order of the queue."""
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
        """Grants what can be granted, then reports the positions in the queue and the number of requests for each device."""
        outgoing: Frames = []
        for lease in list(self._queue):
            if len(self._holders) == len(self.devices):
                break
            device = self._free_device(lease) if lease.connected else None
            if device is not None:
                outgoing.append(self._grant(now, lease, device))
        return [*outgoing, *self._notify_waiters(now), *self._notify_holders()]

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
        lease.reported_waiting = 0
        self._revive(now, lease)
        return lease.id, self._granted(lease)

    def _revive(self, now: float, lease: _Lease) -> None:
        """Counts a sign of life. The TTL runs only for remote holders and lost streams."""
        ticking = not lease.connected or (lease.state is State.HELD and not lease.local)
        lease.expires_at = now + self.ttl if ticking else math.inf

    def _end(self, lease: _Lease, reason: str, message: str) -> Frames:
        """Removes a lease in any state, and notifies its stream if there is one."""
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
            if lease.connected and position != lease.reported_position:
                lease.reported_position = position
                queued = gpu_pb2.LeaseQueued(position=position, holders=self._holding(now, lease))
                yield lease.id, gpu_pb2.LeaseResponse(queued=queued)

    def _notify_holders(self) -> Iterator[tuple[str, gpu_pb2.LeaseResponse]]:
        wanted = Counter(lease.selector for lease in self._queue if lease.connected)
        for device, lease in self._holders.items():
            waiting = wanted[device] + wanted[""]
            if lease.connected and waiting != lease.reported_waiting:
                lease.reported_waiting = waiting
                yield lease.id, gpu_pb2.LeaseResponse(wanted=gpu_pb2.LeaseWanted(waiting=waiting))

    def _holding(self, now: float, waiter: _Lease) -> list[gpu_pb2.LeaseStatus]:
        """The leases that a waiter waits for."""
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
