"""Requests of a higher priority that preempt: which holders are asked to yield to them, and to which one a lease is lost."""

from __future__ import annotations

import math

from lanemesh.gpu.queries import ArbiterView
from lanemesh.gpu.requests import LeaseRecord, State
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

PREEMPT_SECONDS = 5.0
"""How long a holder has to yield to a request that preempts."""


def asks_to_yield(view: ArbiterView, now: float) -> list[tuple[str, gpu_pb2.LeaseResponse]]:
    """Starts the time that holders of a lower priority have. Returns the frames for those of them that are connected."""
    asked: list[tuple[str, gpu_pb2.LeaseResponse]] = []
    for waiter in view.queue:
        if not waiter.preempts or not waiter.connected:
            continue
        for lease in view.leases.values():
            if _is_in_the_way(lease, waiter) and lease.revoke_at == math.inf:
                lease.revoke_at = now + PREEMPT_SECONDS
                if lease.connected:
                    wanted = gpu_pb2.LeaseWanted(waiting=1, revoked_in=duration(PREEMPT_SECONDS))
                    asked.append((lease.id, gpu_pb2.LeaseResponse(wanted=wanted)))
    return asked


def preemptor_of(view: ArbiterView, lease: LeaseRecord) -> LeaseRecord | None:
    """The first request in the queue that preempts a lease; None: no such request waits any more."""
    preempting = (waiter for waiter in view.queue if waiter.preempts and waiter.connected)
    return next((waiter for waiter in preempting if _is_in_the_way(lease, waiter)), None)


def _is_in_the_way(lease: LeaseRecord, waiter: LeaseRecord) -> bool:
    held = lease.state is State.HELD and lease.priority < waiter.priority
    return held and not set(lease.devices).isdisjoint(waiter.eligible)
