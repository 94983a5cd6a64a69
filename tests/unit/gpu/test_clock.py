"""Clocks that jump: what the arbiter decides if its time falls, or leaps."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import pytest
from lanemesh.gpu import GpuArbiter
from lanemesh.gpu.core import TTL, ArbiterCore, Frames
from lanemesh.gpu.journal import Journal
from lanemesh.gpu.resident import UNLOAD_SECONDS
from lanemesh.v1 import gpu_pb2

GIB = 1 << 30
DEVICE = gpu_pb2.Device(id="sim:0", memory_bytes=24 * GIB)
LONG = 1e9
"""Seconds by which a clock leaps."""


def request(gibibytes: int = 0, model: str = "", device: str = "") -> gpu_pb2.LeaseAcquire:
    return gpu_pb2.LeaseAcquire(memory_bytes=gibibytes * GIB, model=model, owner="server", device=device)


def granted(frames: Frames) -> dict[str, int]:
    """The token of each lease that was granted."""
    return {lease: frame.granted.fencing_token for lease, frame in frames if frame.HasField("granted")}


def revoked(frames: Frames) -> dict[str, str]:
    return {lease: frame.revoked.reason for lease, frame in frames if frame.HasField("revoked")}


def test_a_clock_that_falls_ends_nothing_and_changes_no_order() -> None:
    core = ArbiterCore([DEVICE])
    first = granted(core.acquire(1_000, "holder", request()))["holder"]
    core.acquire(1_001, "early", request())
    core.acquire(1, "late", request())
    assert core.tick(2) == []
    assert granted(core.keepalive(3, "holder")) == {"holder": first}
    assert core.tick(1_001 + TTL - 0.1) == [], "the heartbeat counts from the time that the clock had shown before"
    ages = [lease.age.ToSeconds() for lease in core.status(4)[0].leases]
    assert ages == [0]
    grants = core.release(5, "holder")
    assert granted(grants) == {"early": first + 1}, "the later request does not go first"
    assert granted(core.release(6, "early")) == {"late": first + 2}


def test_a_clock_that_falls_keeps_the_limits_of_waits() -> None:
    core = ArbiterCore([DEVICE])
    core.acquire(1_000, "holder", request(), local=True)
    short = request()
    short.wait_timeout.FromSeconds(5)
    core.acquire(500, "waiter", short)
    assert core.next_deadline() == 1_005
    assert revoked(core.tick(1_005)) == {"waiter": "wait-timeout"}


def test_a_clock_that_leaps_ends_remote_leases_and_waits_and_later_requests_are_served() -> None:
    core = ArbiterCore([DEVICE])
    core.acquire(0, "remote", request(10))
    core.acquire(0, "local", request(10), local=True)
    core.acquire(0, "waiter", request(10))
    assert revoked(core.tick(LONG)) == {"remote": "expired", "waiter": "wait-timeout"}
    assert set(granted(core.acquire(LONG, "next", request(14)))) == {"next"}
    assert revoked(core.tick(LONG + 1)) == {}, "a holder in the arbiter's process lives as long as its stream"


def test_a_heartbeat_that_arrives_with_the_leap_keeps_the_lease() -> None:
    core = ArbiterCore([DEVICE])
    core.acquire(0, "holder", request())
    core.acquire(0, "waiter", request())
    assert "holder" in granted(core.keepalive(LONG, "holder"))
    assert revoked(core.tick(LONG)) == {"waiter": "wait-timeout"}


def test_an_unloading_survives_a_clock_that_leaps() -> None:
    core = ArbiterCore([DEVICE])
    core.acquire(0, "a", request(14, "m"), local=True)
    core.release(0, "a", resident_bytes=14 * GIB)
    waiter = request(14, "n")
    waiter.wait_timeout.FromSeconds(int(2 * LONG))
    core.acquire(1, "b", waiter, local=True)
    assert granted(core.tick(LONG)) == {}
    assert core.next_deadline() == 1 + 2 * LONG, f"the unloading was waited for {UNLOAD_SECONDS:g} s"
    assert set(granted(core.release(LONG, "a"))) == {"b"}


def test_the_arbiter_uses_a_clock_that_nobody_sets() -> None:
    assert inspect.signature(GpuArbiter).parameters["clock"].default is time.monotonic


@pytest.mark.parametrize("leap", [-3600, 3600])
async def test_tokens_grow_over_a_restart_although_the_clock_of_the_machine_was_set(
    leap: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = []
    started = time.time_ns()
    for number in range(3):
        at = started + number * leap * 1_000_000_000
        monkeypatch.setattr(time, "time_ns", lambda at=at: at)
        with Journaled(tmp_path) as one:
            tokens += [one.grant() for _ in range(2)]
    assert tokens == sorted(set(tokens)), "each token is above all before"


class Journaled:
    """An arbiter with a journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self._arbiter = GpuArbiter([DEVICE], journal=Journal(folder / "journal"))

    def __enter__(self) -> Journaled:
        return self

    def __exit__(self, *error: object) -> None:
        self._arbiter.close()

    def grant(self) -> int:
        """The token of a lease that begins and ends now."""
        core = self._arbiter._core
        (token,) = granted(core.acquire(0, "lease", request())).values()
        self._arbiter._deliver(core.release(0, "lease"))
        return token
