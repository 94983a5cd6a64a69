"""The frames that report to holders and waiters what has changed: grants, positions in the queue, and how many others wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lanemesh.gpu.queries import ArbiterView, eta, holding, obstacle_kinds, reason
from lanemesh.gpu.requests import LeaseRecord, State
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

NEAR = 16
"""Positions in the queue that are reported whenever they change, with the reason; further ones when they have fallen by a tenth."""


class Notices:
    """What has been reported of one arbiter's state."""

    def __init__(self, view: ArbiterView, ttl: float) -> None:
        """`ttl`: seconds until a lease without a heartbeat expires."""
        self._view = view
        self._ttl = ttl
        self._wanted_reported = False
        """Holders were notified that others wait."""

    def to_waiters(self, now: float) -> Iterator[tuple[str, gpu_pb2.LeaseResponse]]:
        """The positions that have changed, and for the first of a queue also what is in its way."""
        ahead: dict[str, int] = {}
        for number, lease in enumerate(self._view.queue, 1):
            place, reported = lease.place, lease.reported_position
            before = ahead.get(place, 0)
            ahead[place] = before + 1
            position = before + ahead.get("", 0) + 1 if place else number
            if not lease.connected:
                continue
            if position == 1:
                obstacles = obstacle_kinds(self._view, lease, now)
                changed = not reported or reported != 1 or obstacles != lease.reported_obstacles
                lease.reported_obstacles = obstacles
            else:
                changed = position != reported and (position <= NEAR or position * 10 <= reported * 9 or not reported)
            if changed:
                lease.reported_position = position
                yield lease.id, gpu_pb2.LeaseResponse(queued=self._queued(now, lease, position))

    def to_holders(self) -> Iterator[tuple[str, gpu_pb2.LeaseResponse]]:
        """How many requests want the devices of each holder, if that has changed."""
        if not self._view.queue and not self._wanted_reported:
            return
        self._wanted_reported = bool(self._view.queue)
        wanted = Counter(device for lease in self._view.queue if lease.connected for device in lease.eligible)
        for lease in self._view.leases.values():
            if lease.state is not State.HELD or not lease.connected:
                continue
            waiting = max(wanted[device] for device in lease.devices)
            if waiting != lease.reported_waiting:
                lease.reported_waiting = waiting
                yield lease.id, gpu_pb2.LeaseResponse(wanted=gpu_pb2.LeaseWanted(waiting=waiting))

    def _queued(self, now: float, waiter: LeaseRecord, position: int) -> gpu_pb2.LeaseQueued:
        """The report of a position, with the reason if it is near the front."""
        queued = gpu_pb2.LeaseQueued(position=position)
        if position <= NEAR:
            queued.holders.extend(holding(self._view, waiter, now))
            queued.reason = reason(self._view, waiter, now)
        seconds = eta(self._view, waiter, position - 1, now)
        if seconds is not None:
            queued.eta.CopyFrom(duration(seconds))
        return queued

    def granted(self, lease: LeaseRecord) -> gpu_pb2.LeaseResponse:
        """The grant of a lease."""
        shares = [
            gpu_pb2.LeaseShare(
                device=self._view.devices[device],
                fencing_token=lease.tokens[device],
                memory_bytes=lease.demand.peak,
                resident=device in lease.resident,
            )
            for device in lease.devices
        ]
        return gpu_pb2.LeaseResponse(
            granted=gpu_pb2.LeaseGranted(
                lease_id=lease.id,
                device=shares[0].device,
                fencing_token=lease.token,
                ttl=duration(self._ttl),
                shares=shares,
            )
        )
