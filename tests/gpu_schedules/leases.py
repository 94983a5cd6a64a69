"""Random schedules of the arbiter: whatever holders, waiters and time do, its promises hold after every step."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from lanemesh.gpu import LeaseLost
from lanemesh.gpu.core import ArbiterCore, Frames
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

from gpu_schedules.counted import PICK, Counted, one_of

DEVICES = ("sim:0", "sim:1")
TTL = 30.0


class LeaseSchedules(Counted):
    """Keeps its own account of who holds what, from the frames alone."""

    def __init__(self) -> None:
        super().__init__()
        self.core = ArbiterCore((gpu_pb2.Device(id=device) for device in DEVICES), ttl=TTL)
        self.now = 0.0
        self.count = 0
        self.waiting: dict[str, str] = {}
        self.resuming: dict[str, str] = {}
        self.yielded: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.tokens: dict[str, int] = {}
        self.latest = dict.fromkeys(DEVICES, 0)
        self.lost: set[str] = set()
        self.silent_since: dict[str, float] = {}

    @property
    def leases(self) -> list[str]:
        return sorted([*self.held, *self.yielded, *self.resuming])

    def take(self, told: Frames) -> None:
        for name, frame in told:
            kind = frame.WhichOneof("frame")
            self.frames[str(kind)] += 1
            if kind == "granted":
                self.take_grant(name, frame.granted)
            elif kind == "revoked":
                for places in (self.waiting, self.resuming, self.yielded, self.held):
                    places.pop(name, None)
            elif kind == "yielded" and name in self.held:
                self.yielded[name] = self.held.pop(name)

    def take_grant(self, name: str, granted: gpu_pb2.LeaseGranted) -> None:
        device = granted.device.id
        if name in self.held:
            assert granted.fencing_token == self.tokens[name], "an answer to a keepalive or reclaim keeps the token"
            return
        assert granted.fencing_token > self.latest[device], "tokens only grow"
        assert device not in self.held.values(), "never two holders"
        assert name not in self.lost, "nothing is granted to a lost stream"
        if name in self.waiting:
            selector = self.waiting.pop(name)
            assert selector in ("", device)
            ahead = [other for other, wanted in self.waiting.items() if wanted == selector and int(other) < int(name)]
            assert not ahead, "first come first served"
            returning = [
                other for other, wanted in self.resuming.items() if wanted == device and other not in self.lost
            ]
            assert not returning, "who resumes goes ahead of newcomers"
        else:
            assert self.resuming.pop(name) == device, "a lease resumes where its memory is"
        self.held[name], self.tokens[name], self.latest[device] = device, granted.fencing_token, granted.fencing_token
        self.silent_since[name] = self.now

    @rule(device=st.sampled_from(["", *DEVICES]), wait_timeout=st.sampled_from([5.0, 300.0]))
    def acquire(self, device: str, wait_timeout: float) -> None:
        self.count += 1
        name = str(self.count)
        self.waiting[name] = device
        request = gpu_pb2.LeaseAcquire(device=device, wait_timeout=duration(wait_timeout))
        self.take(self.core.acquire(self.now, name, request))

    @precondition(lambda self: len(self.leases) + len(self.waiting) > 3)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        name = one_of([*self.leases, *self.waiting], pick)
        if name in self.lost:
            return
        self.take(self.core.release(self.now, name))
        assert name not in {**self.waiting, **self.held, **self.yielded, **self.resuming}

    @precondition(lambda self: self.held)
    @rule(pick=PICK)
    def pause(self, pick: int) -> None:
        name = one_of(sorted(self.held), pick)
        if name not in self.lost:
            self.take(self.core.pause(self.now, name))

    @precondition(lambda self: self.yielded)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        name = one_of(sorted(self.yielded), pick)
        if name not in self.lost:
            self.resuming[name] = self.yielded.pop(name)
            self.take(self.core.resume(self.now, name))

    @precondition(lambda self: self.held)
    @rule(pick=PICK)
    def keepalive(self, pick: int) -> None:
        name = one_of(sorted(self.held), pick)
        if name not in self.lost:
            self.silent_since[name] = self.now
            self.take(self.core.keepalive(self.now, name))

    @precondition(lambda self: len(self.leases) + len(self.waiting) > 3)
    @rule(pick=PICK)
    def lose(self, pick: int) -> None:
        name = one_of([*self.leases, *self.waiting], pick)
        if name in self.lost:
            return
        if self.waiting.pop(name, None) is None:
            self.lost.add(name)
            self.silent_since[name] = self.now
        self.take(self.core.lose(self.now, name))

    @precondition(lambda self: self.lost)
    @rule(pick=PICK)
    def reclaim(self, pick: int) -> None:
        name = one_of(sorted(self.lost), pick)
        self.lost.discard(name)
        self.silent_since[name] = self.now
        self.take(self.core.reclaim(self.now, name, self.tokens[name]))

    @rule(seconds=st.sampled_from([0.5, 0.5, 4.0, 11.0, 31.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        expired = {
            name
            for name in self.leases
            if (name in self.held or name in self.lost) and self.silent_since[name] + TTL <= self.now
        }
        told = self.core.tick(self.now)
        for name in expired & self.lost:  # There is no client to notify.
            for places in (self.resuming, self.yielded, self.held):
                places.pop(name, None)
            self.lost.discard(name)
            with pytest.raises(LeaseLost):
                self.core.reclaim(self.now, name, self.tokens[name])
        gone_quietly = self.lost - {lease.lease_id for device in self.core.status(self.now) for lease in device.leases}
        for name in gone_quietly:
            assert name in self.resuming, "only a wait to resume ends before the TTL, by its own time-out"
            del self.resuming[name]
        self.lost -= gone_quietly
        self.take(told)

    @rule()
    def clock_falls(self) -> None:
        """The clock is set back for a moment."""
        assert self.core.tick(self.now - 2 * TTL) == [], "time that falls decides nothing"

    @invariant()
    def accounts_agree(self) -> None:
        status = self.core.status(self.now)
        held = {device.device.id: lease.lease_id for device in status for lease in device.leases if not lease.yielded}
        assert held == {device: name for name, device in self.held.items()}

    @invariant()
    def no_waiter_is_forgotten(self) -> None:
        free = set(DEVICES) - set(self.held.values())
        present = {**self.waiting, **{name: at for name, at in self.resuming.items() if name not in self.lost}}
        stuck = [name for name, wanted in present.items() if free and (not wanted or wanted in free)]
        assert not stuck, "whoever waits for a free device gets it"

    @invariant()
    def nothing_waits_without_a_deadline(self) -> None:
        if self.waiting or self.resuming:
            assert self.core.next_deadline() is not None
