"""The arbiter's decisions, one at a time, under a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from lanemesh.gpu import LeaseError, LeaseLost, NoSuchDevice
from lanemesh.gpu.core import MAX_WAITERS, ArbiterCore, Frames
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2


def core(*devices: str, ttl: float = 30.0) -> ArbiterCore:
    return ArbiterCore((gpu_pb2.Device(id=device) for device in devices or ("sim:0",)), ttl=ttl)


def request(
    name: str, device: str = "", *, priority: int = 0, wait_timeout: float | None = None
) -> gpu_pb2.LeaseAcquire:
    holder = gpu_pb2.LeaseHolder(run_id="r1", component=name, server="127.0.0.1:7001")
    asked = gpu_pb2.LeaseAcquire(holder=holder, device=device, priority=priority)
    if wait_timeout is not None:
        asked.wait_timeout.CopyFrom(duration(wait_timeout))
    return asked


def told(frames_: Frames) -> list[tuple[str, str]]:
    """The kinds of notifications by receiver."""
    return [(lease_id, str(frame.WhichOneof("frame"))) for lease_id, frame in frames_]


def granted(frames_: Frames) -> dict[str, gpu_pb2.LeaseGranted]:
    return {lease_id: frame.granted for lease_id, frame in frames_ if frame.HasField("granted")}


def positions(frames_: Frames) -> dict[str, int]:
    return {lease_id: frame.queued.position for lease_id, frame in frames_ if frame.HasField("queued")}


def revoked(frames_: Frames) -> dict[str, gpu_pb2.LeaseRevoked]:
    return {lease_id: frame.revoked for lease_id, frame in frames_ if frame.HasField("revoked")}


def acquire_all(arbiter: ArbiterCore, names: Iterable[str], now: float = 0.0) -> None:
    for name in names:
        arbiter.acquire(now, name, request(name))


@pytest.mark.conformance("GPU-01")
def test_a_device_is_granted_to_one_and_then_to_the_next() -> None:
    arbiter = core()
    assert granted(arbiter.acquire(0, "a", request("a")))["a"].device.id == "sim:0"
    assert told(arbiter.acquire(1, "b", request("b"))) == [("b", "queued"), ("a", "wanted")]
    assert told(arbiter.release(2, "a")) == [("a", "revoked"), ("b", "granted")]


@pytest.mark.conformance("GPU-01")
def test_two_devices_are_held_at_once() -> None:
    arbiter = core("sim:0", "sim:1")
    first = granted(arbiter.acquire(0, "a", request("a")))["a"]
    second = granted(arbiter.acquire(0, "b", request("b")))["b"]
    assert {first.device.id, second.device.id} == {"sim:0", "sim:1"}


def test_first_come_first_served_and_positions_follow() -> None:
    arbiter = core()
    acquire_all(arbiter, ["a", "b", "c"])
    assert positions(arbiter.acquire(1, "d", request("d"))) == {"d": 3}
    after = arbiter.release(2, "a")
    assert list(granted(after)) == ["b"]
    assert positions(after) == {"c": 1, "d": 2}


def test_a_waiter_for_a_busy_device_does_not_hold_up_one_for_a_free_device() -> None:
    arbiter = core("sim:0", "sim:1")
    arbiter.acquire(0, "a", request("a", "sim:0"))
    assert positions(arbiter.acquire(0, "b", request("b", "sim:0"))) == {"b": 1}
    assert "c" in granted(arbiter.acquire(0, "c", request("c", "sim:1")))


def test_any_device_is_one_without_a_returning_holder() -> None:
    arbiter = core("sim:0", "sim:1")
    arbiter.acquire(0, "a", request("a", "sim:0"))
    arbiter.pause(1, "a")
    assert granted(arbiter.acquire(2, "b", request("b")))["b"].device.id == "sim:1"


def test_priority_goes_first_but_waiting_makes_up_for_it() -> None:
    arbiter = core()
    arbiter.acquire(0, "a", request("a"))
    arbiter.acquire(0, "old", request("old"))
    arbiter.acquire(59, "urgent", request("urgent", priority=1))
    arbiter.acquire(61, "too-late", request("too-late", priority=1))
    order = [next(iter(granted(arbiter.release(70, name)))) for name in ("a", "urgent", "old")]
    assert order == ["urgent", "old", "too-late"]


@pytest.mark.conformance("GPU-04")
def test_a_wait_that_takes_too_long_names_the_holder_and_its_age() -> None:
    arbiter = core()
    arbiter.acquire(0, "a", request("llm_1"))
    arbiter.acquire(100, "b", request("b"))
    arbiter.keepalive(390, "a")
    assert arbiter.next_deadline() == 400
    for lease_id, last in revoked(arbiter.tick(400)).items():
        assert (lease_id, last.reason) == ("b", "wait-timeout")
        assert last.message == (
            'Waited 300 s for a GPU: sim:0 has been held for 400 s by "llm_1" of run r1 on 127.0.0.1:7001.'
        )
    assert not arbiter.status(400)[0].waiting


@pytest.mark.conformance("GPU-04")
@pytest.mark.parametrize("leave", ["release", "lose"])
def test_a_waiter_that_leaves_is_forgotten_at_once(leave: str) -> None:
    arbiter = core()
    acquire_all(arbiter, ["a", "b", "c"])
    assert positions(getattr(arbiter, leave)(1, "b")) == {"c": 1}
    assert list(granted(arbiter.release(2, "a"))) == ["c"]


@pytest.mark.conformance("GPU-05")
def test_only_the_holder_ends_a_lease() -> None:
    arbiter = core()
    acquire_all(arbiter, ["a", "b"])
    for step in (arbiter.release, arbiter.lose, arbiter.pause):
        assert not granted(step(1, "b"))
    assert [lease.lease_id for lease in arbiter.status(1)[0].leases] == ["a"]


@pytest.mark.conformance("GPU-06")
def test_a_lost_holder_keeps_its_lease_until_the_ttl_ends() -> None:
    arbiter = core()
    acquire_all(arbiter, ["a", "b"])
    first_token = arbiter.status(0)[0].leases[0].fencing_token
    arbiter.keepalive(10, "a")
    arbiter.lose(15, "a")
    assert arbiter.tick(44.9) == []
    assert granted(arbiter.tick(45))["b"].fencing_token == first_token + 2, "an expiry raises the token as well"
    with pytest.raises(LeaseLost, match="expired"):
        arbiter.reclaim(46, "a", first_token)


@pytest.mark.conformance("GPU-06")
def test_the_lease_of_a_silent_holder_with_a_live_stream_expires_and_it_is_notified() -> None:
    arbiter = core()
    arbiter.acquire(0, "a", request("a"))
    arbiter.keepalive(20, "a")
    assert arbiter.next_deadline() == 50
    assert revoked(arbiter.tick(50))["a"].reason == "expired"


def test_a_holder_in_the_same_process_needs_no_keepalive() -> None:
    arbiter = core()
    arbiter.acquire(0, "a", request("a"), local=True)
    assert arbiter.next_deadline() is None
    arbiter.lose(100, "a")
    assert arbiter.next_deadline() == 130


def test_a_keepalive_is_answered_under_the_same_token() -> None:
    arbiter = core()
    token = granted(arbiter.acquire(0, "a", request("a")))["a"].fencing_token
    assert granted(arbiter.keepalive(5, "a"))["a"].fencing_token == token
    assert arbiter.keepalive(5, "nobody") == []


def test_a_lease_is_reclaimed_with_its_latest_token_only() -> None:
    arbiter = core()
    token = granted(arbiter.acquire(0, "a", request("a")))["a"].fencing_token
    arbiter.lose(1, "a")
    with pytest.raises(LeaseLost, match="not the latest"):
        arbiter.reclaim(2, "a", token - 1)
    assert granted(arbiter.reclaim(3, "a", token))["a"].fencing_token == token
    assert arbiter.next_deadline() == 33


def test_a_grant_lost_with_its_stream_is_reclaimed_with_the_token_before() -> None:
    arbiter = core()
    token = granted(arbiter.acquire(0, "a", request("a")))["a"].fencing_token
    arbiter.pause(1, "a")
    newer = granted(arbiter.resume(2, "a"))["a"].fencing_token
    arbiter.lose(3, "a")
    assert granted(arbiter.reclaim(4, "a", token))["a"].fencing_token == newer > token
    arbiter.keepalive(5, "a")
    with pytest.raises(LeaseLost):
        arbiter.reclaim(6, "a", token)


def test_resume_goes_ahead_of_newcomers_on_the_same_device_with_a_new_token() -> None:
    arbiter = core("sim:0", "sim:1")
    first = granted(arbiter.acquire(0, "a", request("a", "sim:0")))["a"]
    arbiter.acquire(0, "other", request("other", "sim:1"))
    arbiter.acquire(1, "b", request("b", "sim:0"))
    arbiter.acquire(2, "c", request("c", "sim:0", priority=9))
    assert told(arbiter.pause(3, "a"))[:2] == [("a", "yielded"), ("c", "granted")]
    assert positions(arbiter.resume(4, "a")) == {"a": 1, "b": 2}
    again = granted(arbiter.release(5, "c"))["a"]
    assert again.device.id == "sim:0"
    assert again.fencing_token > first.fencing_token


def test_a_yielded_lease_costs_no_keepalives_but_a_lost_one_expires() -> None:
    arbiter = core()
    arbiter.acquire(0, "a", request("a"))
    arbiter.pause(1, "a")
    assert arbiter.next_deadline() is None
    arbiter.lose(2, "a")
    assert arbiter.tick(32) == []
    assert arbiter.status(32)[0].leases == []


def test_a_lost_lease_that_waits_to_resume_is_passed_over_until_it_is_reclaimed() -> None:
    arbiter = core()
    token = granted(arbiter.acquire(0, "a", request("a")))["a"].fencing_token
    arbiter.acquire(0, "b", request("b"))
    arbiter.pause(1, "a")
    arbiter.acquire(1, "c", request("c"))
    arbiter.resume(2, "a")
    arbiter.lose(3, "a")
    assert list(granted(arbiter.release(4, "b"))) == ["c"]
    assert positions(arbiter.reclaim(5, "a", token)) == {"a": 1}
    assert list(granted(arbiter.release(6, "c"))) == ["a"]


def test_requests_that_can_never_be_granted_are_refused() -> None:
    with pytest.raises(NoSuchDevice, match="no GPU here; set LANEMESH_GPUS"):
        ArbiterCore([]).acquire(0, "a", request("a"))
    with pytest.raises(NoSuchDevice, match="no GPU cuda:7 here; there is sim:0"):
        core().acquire(0, "a", request("a", "cuda:7"))


def test_the_queue_is_bounded() -> None:
    arbiter = core()
    arbiter._queue = [None] * MAX_WAITERS  # type: ignore[list-item]
    with pytest.raises(LeaseError, match="which is the limit"):
        arbiter.acquire(0, "a", request("a"))


def test_shutdown_notifies_holders_and_waiters() -> None:
    arbiter = core()
    acquire_all(arbiter, ["a", "b"])
    assert {last.reason for last in revoked(arbiter.shutdown()).values()} == {"shutdown"}
    assert arbiter.status(0)[0].leases == []
