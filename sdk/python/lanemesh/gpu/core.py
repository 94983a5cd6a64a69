"""The arbiter's decisions: a state machine over plain values and an explicit clock.

Every call takes the time in seconds (of any steady clock; one that falls is taken to stand still until it has caught up) and
returns the frames to deliver, each with the id of the lease it is for. Nothing here waits, knows a stream or reads a clock, so
whole schedules are tested in microseconds.

The rules:

* An exclusive lease has its devices alone. Leases of memory share a device while their memory fits. A request for several devices
  gets them together or not at all, and holds none while it waits.
* Every grant of a device raises its fencing token, and so does an expiry.
* First come first served within a priority. A level of priority equals `ageing` seconds in the queue, so no request starves.
* A later request may pass the first one that waits for a device, if it fits: `MAX_BYPASS` times, and within `BYPASS_SECONDS`
  of that one's request. So requests for a loaded model go first, for a while.
* A model may stay loaded after its lease: the stream of the lease goes on for it, and does not count as a lease any more.
* If the first one that waits fits only without some idle models, their owners are asked to unload them. Their memory, and that
  of lost leases, is granted when the device shows that it is free. A model that is being unloaded is not used until that is over.
* If that is not enough, models are offloaded to host memory whose leases have all yielded and can do that: in the same two phases.
  A lease that resumes then takes the memory of its model again, and restores it.
* A holder that yielded resumes on its own devices, ahead of new requests.
* A request that preempts asks the holders of a lower priority to yield, and takes their leases after `PREEMPT_SECONDS`.
* A lease expires when its holder sends no heartbeat for the TTL. A lease without the device (yielded, or queued to resume) expires
  when its stream has been lost for that time. A holder in the arbiter's own process (`local`) lives as long as its stream.
* A waiter whose stream is lost is removed at once. Only the holder, the TTL, or a preemption ends a lease.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from lanemesh.gpu import frames
from lanemesh.gpu.errors import lease_error
from lanemesh.gpu.journal import JournalState, LeaseEntry
from lanemesh.gpu.lease_table import LeaseTable
from lanemesh.gpu.notices import Notices
from lanemesh.gpu.preemption import asks_to_yield, preemptor_of
from lanemesh.gpu.queries import device_statuses, in_vain
from lanemesh.gpu.queue_pass import MAX_BYPASS, QueuePass
from lanemesh.gpu.requests import LeaseRecord, State, demand_of, eligible_of
from lanemesh.gpu.unloading import Unloading
from lanemesh.times import span
from lanemesh.v1 import gpu_pb2

Frames = list[tuple[str, gpu_pb2.LeaseResponse]]
"""Frames to deliver, in order, each with the id of its lease."""

TTL = 30.0
"""Default TTL of a lease in seconds."""
AGEING = 60.0
"""Seconds in the queue that one level of priority is worth."""
MAX_WAITERS = 4096
"""Maximum number of requests in the queue; further ones are rejected."""


class ArbiterCore:
    """The arbiter's state. All methods that may raise do so before anything has changed."""

    def __init__(
        self,
        devices: Iterable[gpu_pb2.Device],
        *,
        ttl: float = TTL,
        ageing: float = AGEING,
        first_token: int = 0,
        max_bypass: int = MAX_BYPASS,
    ) -> None:
        self._table = table = LeaseTable(devices, ttl=ttl, ageing=ageing, first_token=first_token)
        self.devices = table.devices
        self.memory = table.memory
        self.ttl = ttl
        self.view = table.view
        """The state, for queries."""
        self.counts = table.counts
        """What it has decided so far."""
        self._max_bypass = max_bypass
        self._leases = table.leases
        self._queue = table.queue
        self._unloading = Unloading(self.view, self.counts)
        self._notices = Notices(self.view, ttl)
        self._grants_after = -math.inf
        self._latest = -math.inf
        """The latest time of all calls."""
        self._settled = -math.inf
        """When it was last decided what is granted."""

    def _at(self, now: float) -> float:
        """The time of a call, which never falls: an earlier one would let a later request go first."""
        self._latest = max(self._latest, now)
        return self._latest

    # Restarts

    def restore(self, now: float, state: JournalState) -> None:
        """Takes over what an earlier arbiter has written, before anything is requested.

        Its leases go on if their holders reclaim them within the TTL. If some of it is damaged, there may be more, so nothing is
        granted before that time.
        """
        self._table.restore(now, state)
        if state.damaged:
            self._grants_after = now + self.ttl

    def take_changes(self) -> Iterator[tuple[str, LeaseEntry | None]]:
        """The leases that have got or given devices since the last call, for the journal, which reads them at once; None: it has
        ended."""
        return self._table.take_changes()

    @property
    def tokens(self) -> Mapping[str, int]:
        """The latest fencing token of each device."""
        return self._table.tokens

    @property
    def peaks(self) -> Mapping[str, int]:
        """The most bytes that leases for each model had."""
        return self._table.peaks.by_model

    # Frames of holders and waiters

    def acquire(self, now: float, lease_id: str, request: gpu_pb2.LeaseAcquire, *, local: bool = False) -> Frames:
        """Requests devices under a new lease id. Raises `LeaseError` if they can never be granted."""
        now = self._at(now)
        demand = demand_of(request)
        eligible, count = eligible_of(request, demand, self.devices)
        if len(self._queue) >= MAX_WAITERS:
            raise lease_error(
                "queue-full", f"{MAX_WAITERS} requests already wait for a GPU, which is the limit; retry later."
            )
        largest = max(self.devices[device].memory_bytes for device in eligible)
        if seen := self._table.peaks.of(request.model, largest):
            demand = demand_of(request, seen)
        self._table.enqueue(self._table.enter(now, lease_id, request, demand, eligible, count, local=local))
        return self._settle(now)

    def reclaim(self, now: float, lease_id: str, token: int, *, local: bool = False) -> Frames:
        """Continues a lease on a new stream. Raises `LeaseLost` if it has ended or the token is not its latest."""
        now = self._at(now)
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
        self._table.revive(now, lease)
        if lease.state is State.HELD:
            return [(lease_id, self._notices.granted(lease)), *self._settle(now)]
        asked = list(self._unloading.asked_of(lease))
        if lease.state is State.YIELDED:
            return [(lease_id, frames.YIELDED), *asked]
        if lease.state is State.KEPT:
            return [(lease_id, frames.KEPT), *asked]
        return [*asked, *self._settle(now)]

    def keepalive(self, now: float, lease_id: str, bytes_used: int = 0) -> Frames:
        """Processes a heartbeat of the holder. The response is `granted` with the same token."""
        now = self._at(now)
        lease = self._leases.get(lease_id)
        if lease is None or lease.state is not State.HELD:
            return []
        lease.earlier_token = 0
        self._table.peaks.learn(lease.demand.model, bytes_used)
        self._table.revive(now, lease)
        return [(lease_id, self._notices.granted(lease))]

    def pause(self, now: float, lease_id: str, *, offloads: bool = False) -> Frames:
        """The holder yields: others may use the devices meanwhile. A lease that waits to resume leaves the queue.

        `offloads`: it can offload the model of its one device to host memory when it is asked to.
        """
        now = self._at(now)
        lease = self._leases.get(lease_id)
        if lease is None or lease.state in (State.WAITING, State.KEPT):
            return []
        self._table.pause(now, lease, offloads=offloads)
        return [(lease_id, frames.YIELDED), *self._settle(now)]

    def offloaded(self, now: float, lease_id: str, number: int, *, certain: bool = True) -> Frames:
        """The model of a lease that has yielded was offloaded, as the request with this number asked. Not `certain`: it was not."""
        now = self._at(now)
        lease = self._leases.get(lease_id)
        if lease is None or lease.state not in (State.YIELDED, State.RESUMING):
            return []
        for device in lease.devices:
            self.memory[device].offloaded(lease.id, lease.demand, now, number, certain=certain)
        return self._settle(now)

    def resume(self, now: float, lease_id: str) -> Frames:
        """Requests the devices again after a yield: ahead of new requests, with new tokens."""
        now = self._at(now)
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.state is State.HELD:
            return [(lease_id, self._notices.granted(lease))]
        if lease.state is State.YIELDED:
            lease.state, lease.asked_at, lease.reported_position, lease.bypassed = State.RESUMING, now, 0, 0
            self._table.enqueue(lease)
        return self._settle(now)

    def release(
        self, now: float, lease_id: str, *, resident_bytes: int = 0, peak_seen: int = 0, certain: bool = True
    ) -> Frames:
        """The holder is done, the waiter does not want it any more, or the model of a lease that was kept has been unloaded.

        `resident_bytes` of its model stay on its device; several devices keep none. Not `certain`: its memory may still be in use.
        """
        now = self._at(now)
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        self._table.peaks.learn(lease.demand.model, peak_seen)
        stays = resident_bytes and lease.demand.key and lease.state in (State.HELD, State.YIELDED) and lease.connected
        if stays and self._table.keep(now, lease, resident_bytes):
            return [(lease_id, frames.KEPT), *self._settle(now)]
        certain = certain and not (resident_bytes and lease.demand.several)
        ended = self._end(now, lease, "released", "The lease was released.", certain=certain)
        return [*ended, *self._settle(now)]

    def lose(self, now: float, lease_id: str) -> Frames:
        """The stream of a lease is lost: the TTL starts. A waiting request is removed."""
        now = self._at(now)
        lease = self._leases.get(lease_id)
        if lease is None:
            return []
        if lease.state is State.WAITING:
            self._end(now, lease, "released", "")
            return self._settle(now)
        lease.connected = False
        lease.expires_at = now + self.ttl
        return []

    # Devices

    def observe(
        self, now: float, device: str, used: Mapping[str, int], foreign: int, marks: int | None = None
    ) -> Frames:
        """What a device shows: bytes used by each known process, and by all others together. `marks`: those of its memory when it
        was read; None: it was read now."""
        now = self._at(now)
        memory = self.memory.get(device)
        if memory is None:
            return []
        memory.observe(used, foreign, marks)
        return self._settle(now)

    def vanish(self, now: float, device: str) -> Frames:
        """A device does not answer any more: nothing of it is granted until it is observed again."""
        now = self._at(now)
        if device not in self.memory or self.memory[device].gone:
            return []
        self.memory[device].gone = True
        return self._settle(now)

    # Timers

    def next_deadline(self) -> float | None:
        """When `tick` has something to decide; None if nothing is due without further calls."""
        soonest = min([lease.deadline for lease in self._leases.values()], default=math.inf)
        if self._queue:
            if self._grants_after > -math.inf:
                soonest = min(soonest, self._grants_after)
            soonest = min(soonest, self._unloading.next_deadline(self._settled))
        return soonest if math.isfinite(soonest) else None

    def tick(self, now: float) -> Frames:
        """Expires leases without a sign of life, ends waits that took too long, and takes leases that were preempted."""
        now = self._at(now)
        due = [lease for lease in self._leases.values() if lease.deadline <= now]
        unloads = self._unloading.tick(now, self._settled)
        opens = -math.inf < self._grants_after <= now
        if opens:
            self._grants_after = -math.inf
        if not due and not unloads and not opens:
            return []
        outgoing: Frames = []
        for lease in due:
            if lease.expires_at <= now:
                where = ", ".join(lease.devices)
                outgoing += self._end(
                    now,
                    lease,
                    "expired",
                    f"The lease of {where} expired: its holder sent no heartbeat for {self.ttl:g} s.",
                    certain=False,
                )
                self._table.fence(lease)
            elif lease.state in (State.WAITING, State.RESUMING):
                what = f"GPU {lease.named}" if lease.named else "a GPU"
                why, waited = in_vain(self.view, lease, now), span(now - lease.asked_at)
                outgoing += self._end(now, lease, "wait-timeout", f"Waited {waited} for {what}: {why}.")
            else:
                outgoing += self._preempt(now, lease)
        return outgoing + self._settle(now)

    def shutdown(self) -> Frames:
        """Ends every lease and every wait."""
        return [
            frame
            for lease in list(self._leases.values())
            for frame in self._end(0.0, lease, "shutdown", "The GPU arbiter was stopped.")
        ]

    def status(self, now: float) -> list[gpu_pb2.DeviceStatus]:
        """Each device with its leases (the holders' first) and its waiting requesters, in the order of the queue."""
        return device_statuses(self.view, now)

    # How it decides

    def _settle(self, now: float) -> Frames:
        """Grants what can be granted, asks for models to be unloaded, and reports positions and the number of requests."""
        self._settled = now
        yielded = Counter(
            device for lease in self._leases.values() if lease.state is State.YIELDED for device in lease.devices
        )
        queue_pass = QueuePass(self.memory, yielded, now, self._max_bypass)
        outgoing: Frames = []
        for lease in list(self._queue) if now >= self._grants_after else ():
            if queue_pass.is_over:
                break
            if lease.connected and (devices := queue_pass.try_place(lease)):
                self._table.grant(now, lease, devices)
                outgoing.append((lease.id, self._notices.granted(lease)))
        for resident, device in queue_pass.unloads():
            outgoing += self._unloading.ask(resident, device, now)
        outgoing += asks_to_yield(self.view, now)
        return [*outgoing, *self._notices.to_waiters(now), *self._notices.to_holders()]

    def _end(
        self,
        now: float,
        lease: LeaseRecord,
        reason: str,
        message: str,
        *,
        certain: bool = True,
    ) -> Frames:
        """Removes a lease in any state, and notifies its stream if there is one."""
        self._table.remove(now, lease, reason, certain=certain)
        return [(lease.id, frames.revoked(reason, message))] if lease.connected else []

    def _preempt(self, now: float, lease: LeaseRecord) -> Frames:
        """Takes a lease whose time to yield is over, if a request that preempts it still waits."""
        lease.revoke_at = math.inf
        waiter = preemptor_of(self.view, lease)
        if waiter is None:
            return []
        where, by = ", ".join(lease.devices), frames.holder_text(waiter.holder)
        self._table.fence(lease)
        message = f"The lease of {where} was taken by {by}, which has a higher priority."
        return self._end(now, lease, "preempted", message, certain=False)
