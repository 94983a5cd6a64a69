"""Leases of memory, of several devices, and models that stay loaded: the arbiter's decisions, one at a time."""

from __future__ import annotations

import pytest
from lanemesh.gpu import LeaseError, NoSuchDevice
from lanemesh.gpu.core import ArbiterCore, Frames
from lanemesh.gpu.preemption import PREEMPT_SECONDS
from lanemesh.gpu.queue_pass import BYPASS_SECONDS, MAX_BYPASS
from lanemesh.gpu.resident import UNLOAD_SECONDS
from lanemesh.times import duration, seconds_of
from lanemesh.v1 import gpu_pb2

GIB = 1 << 30


def core(*sizes: int, ttl: float = 30.0) -> ArbiterCore:
    devices = [gpu_pb2.Device(id=f"sim:{n}", memory_bytes=size * GIB) for n, size in enumerate(sizes or (24,))]
    return ArbiterCore(devices, ttl=ttl)


def request(
    memory: float = 0,
    peak: float = 0,
    model: str = "",
    *,
    device: str = "",
    owner: str = "server",
    count: int = 0,
    priority: int = 0,
    preempts: bool = False,
    exclusive: bool = False,
    reload: float = 1.0,
) -> gpu_pb2.LeaseAcquire:
    return gpu_pb2.LeaseAcquire(
        holder=gpu_pb2.LeaseHolder(component=model or "node"),
        device=device,
        memory_bytes=int(memory * GIB),
        peak_bytes=int(peak * GIB),
        model=model,
        owner=owner,
        count=count,
        priority=priority,
        preempts=preempts,
        exclusive=exclusive,
        reload_time=duration(reload),
    )


def granted(frames: Frames) -> dict[str, list[str]]:
    """The devices of each lease that was granted."""
    return {
        lease: [share.device.id for share in frame.granted.shares]
        for lease, frame in frames
        if frame.HasField("granted")
    }


def unloads(frames: Frames) -> list[str]:
    """The leases that were kept for models that are to be unloaded."""
    return [lease for lease, frame in frames if frame.HasField("unload")]


def reasons(frames: Frames) -> dict[str, str]:
    return {lease: frame.revoked.reason for lease, frame in frames if frame.HasField("revoked")}


@pytest.mark.conformance("GPU-02")
def test_leases_of_memory_share_a_device_while_they_fit() -> None:
    arbiter = core(24)
    assert granted(arbiter.acquire(0, "a", request(6, 9))) == {"a": ["sim:0"]}
    assert granted(arbiter.acquire(0, "b", request(15))) == {"b": ["sim:0"]}
    assert granted(arbiter.acquire(0, "c", request(1))) == {}
    assert granted(arbiter.release(1, "a")) == {"c": ["sim:0"]}
    assert arbiter.memory["sim:0"].free == 8 * GIB


@pytest.mark.conformance("GPU-02")
def test_an_exclusive_lease_and_leases_of_memory_exclude_each_other() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "a", request(6))
    assert granted(arbiter.acquire(0, "b", request())) == {}
    assert granted(arbiter.release(1, "a")) == {"b": ["sim:0"]}
    assert granted(arbiter.acquire(2, "c", request(6))) == {}
    assert granted(arbiter.release(3, "b")) == {"c": ["sim:0"]}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(30), "too-large"),
        (request(6, 30), "too-large"),
        (request(6, 3), "bad-request"),
        (request(model="m"), "bad-request"),
        (request(1, device="sim:0", count=2), "bad-request"),
        (request(1, model="m" * 1001), "bad-request"),
        (request(1, count=3), "no-such-device"),
        (request(20, count=2), "too-large"),
        (request(1, device="cuda:0"), "no-such-device"),
    ],
)
def test_what_can_never_be_granted_is_refused_at_once(asked: gpu_pb2.LeaseAcquire, reason: str) -> None:
    arbiter = core(24, 16)
    with pytest.raises(LeaseError) as caught:
        arbiter.acquire(0, "a", asked)
    assert caught.value.fault.reason == f"gpu-{reason}"
    assert arbiter.status(0)[0].waiting == []


def test_a_request_of_nothing_there_says_so() -> None:
    with pytest.raises(NoSuchDevice, match="LANEMESH_GPUS"):
        ArbiterCore([]).acquire(0, "a", request(1))


@pytest.mark.conformance("GPU-03")
def test_small_requests_pass_a_large_one_so_often_and_no_longer() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "holder", request(10))
    assert granted(arbiter.acquire(0, "large", request(20))) == {}
    passed = [name for name in map(str, range(20)) if granted(arbiter.acquire(0, name, request(0.5)))]
    assert len(passed) == MAX_BYPASS
    for name in passed:
        arbiter.release(1, name)
    assert granted(arbiter.release(1, "holder"))["large"] == ["sim:0"]


@pytest.mark.conformance("GPU-03")
def test_a_large_request_is_passed_for_so_long_and_no_longer() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "holder", request(10))
    arbiter.acquire(0, "large", request(20))
    assert granted(arbiter.acquire(BYPASS_SECONDS - 1, "early", request(1)))
    assert not granted(arbiter.acquire(BYPASS_SECONDS, "late", request(1)))


def test_a_request_is_not_passed_where_it_does_not_wait() -> None:
    arbiter = core(24, 24)
    arbiter.acquire(0, "holder", request(24, device="sim:0"))
    arbiter.acquire(0, "waiter", request(24, device="sim:0"))
    for name in map(str, range(20)):
        assert granted(arbiter.acquire(BYPASS_SECONDS + 1, name, request(1))) == {name: ["sim:1"]}


@pytest.mark.conformance("GPU-12")
def test_several_devices_are_granted_together_or_not_at_all() -> None:
    arbiter = core(24, 24, 24)
    arbiter.acquire(0, "a", request(device="sim:1"))
    assert granted(arbiter.acquire(0, "pair", request(count=2))) == {"pair": ["sim:0", "sim:2"]}
    assert granted(arbiter.acquire(0, "second", request(count=2))) == {}
    assert granted(arbiter.release(1, "a")) == {}, "one device of two is not taken"
    assert granted(arbiter.release(2, "pair")) == {"second": ["sim:0", "sim:1"]}


@pytest.mark.conformance("GPU-12")
def test_crossing_requests_for_several_devices_end() -> None:
    arbiter = core(24, 24)
    arbiter.acquire(0, "one", request(device="sim:0"))
    arbiter.acquire(0, "two", request(device="sim:1"))
    for name in ("first", "second", "third"):
        arbiter.acquire(0, name, request(count=2))
    arbiter.release(1, "one")
    assert granted(arbiter.release(2, "two")) == {"first": ["sim:0", "sim:1"]}
    assert granted(arbiter.release(3, "first")) == {"second": ["sim:0", "sim:1"]}
    assert granted(arbiter.release(4, "second")) == {"third": ["sim:0", "sim:1"]}


def test_a_lease_of_several_devices_yields_and_resumes_all_of_them() -> None:
    arbiter = core(24, 24)
    arbiter.acquire(0, "pair", request(count=2), local=True)
    arbiter.acquire(0, "one", request(device="sim:0"), local=True)
    assert granted(arbiter.pause(1, "pair")) == {"one": ["sim:0"]}
    assert granted(arbiter.resume(2, "pair")) == {}
    assert granted(arbiter.release(3, "one")) == {"pair": ["sim:0", "sim:1"]}


def test_a_model_stays_loaded_and_is_used_again() -> None:
    arbiter = core(24, 24)
    arbiter.acquire(0, "a", request(6, 8, "llm", device="sim:1"))
    arbiter.release(1, "a", resident_bytes=6 * GIB)
    frames = arbiter.acquire(2, "b", request(6, 8, "llm"))
    assert granted(frames) == {"b": ["sim:1"]}, "where the model is"
    assert frames[0][1].granted.shares[0].resident
    assert arbiter.memory["sim:1"].free == 16 * GIB


def test_a_model_of_another_process_is_another_model() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "a", request(6, 8, "llm", owner="p1"))
    arbiter.release(1, "a", resident_bytes=6 * GIB)
    frames = arbiter.acquire(2, "b", request(6, 8, "llm", owner="p2"))
    assert not frames[0][1].granted.shares[0].resident
    assert arbiter.memory["sim:0"].free == 10 * GIB


def test_idle_models_are_unloaded_for_who_waits_least_valuable_first() -> None:
    arbiter = core(24)
    for at, (name, size, reload) in enumerate([("quick", 6, 1), ("slow", 6, 100), ("large", 8, 1)]):
        arbiter.acquire(at, name, request(size, 0, name, reload=reload))
        arbiter.release(at, name, resident_bytes=size * GIB)
    assert unloads(arbiter.acquire(10, "new", request(10, 0, "new"))) == ["large"]
    assert granted(arbiter.acquire(10, "again", request(8, 0, "large"))) == {}, "it is used only when it has gone"
    assert granted(arbiter.release(11, "large")) == {"new": ["sim:0"]}


def test_no_model_is_unloaded_that_is_in_use() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "a", request(20, 0, "llm"), local=True)
    arbiter.pause(1, "a")
    assert unloads(arbiter.acquire(2, "b", request(10))) == []
    assert unloads(arbiter.release(3, "a", resident_bytes=20 * GIB)) == ["a"]
    assert granted(arbiter.release(4, "a")) == {"b": ["sim:0"]}


def test_memory_is_granted_when_the_device_shows_that_it_is_free() -> None:
    arbiter = core(24)
    arbiter.observe(0, "sim:0", {}, 0)
    arbiter.acquire(0, "a", request(20, 0, "llm"))
    arbiter.release(1, "a", resident_bytes=20 * GIB)
    assert unloads(arbiter.acquire(2, "b", request(10))) == ["a"]
    assert granted(arbiter.release(3, "a")) == {}, "said, but not seen"
    assert granted(arbiter.observe(4, "sim:0", {"server": 20 * GIB}, 0)) == {}
    assert granted(arbiter.observe(5, "sim:0", {"server": 0}, 0)) == {"b": ["sim:0"]}


def test_memory_of_a_lost_lease_is_granted_when_the_device_shows_that_it_is_free() -> None:
    arbiter = core(24, ttl=10)
    arbiter.observe(0, "sim:0", {}, 0)
    arbiter.acquire(0, "a", request(20))
    arbiter.acquire(0, "b", request(10))
    arbiter.lose(1, "a")
    assert reasons(arbiter.tick(11)) == {}
    assert granted(arbiter.observe(12, "sim:0", {"server": 20 * GIB}, 0)) == {}
    assert granted(arbiter.observe(13, "sim:0", {}, 0)) == {"b": ["sim:0"]}


def test_memory_of_other_processes_is_not_granted() -> None:
    arbiter = core(24)
    assert granted(arbiter.observe(0, "sim:0", {}, 12 * GIB)) == {}
    assert granted(arbiter.acquire(0, "a", request(13))) == {}
    assert granted(arbiter.observe(1, "sim:0", {}, 11 * GIB)) == {"a": ["sim:0"]}


def test_what_a_process_has_beyond_its_declaration_is_not_granted() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "a", request(6, 0, "llm"))
    arbiter.observe(1, "sim:0", {"server": 14 * GIB}, 0)
    assert arbiter.memory["sim:0"].free == 10 * GIB
    assert granted(arbiter.acquire(2, "b", request(11))) == {}
    assert granted(arbiter.observe(3, "sim:0", {"server": 6 * GIB}, 0)) == {"b": ["sim:0"]}


def test_peaks_are_learned() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "a", request(6, 6, "llm"))
    arbiter.release(1, "a", peak_seen=int(7.2 * GIB))
    frames = arbiter.acquire(2, "b", request(6, 6, "llm"))
    assert frames[0][1].granted.shares[0].memory_bytes == int(7.2 * GIB)
    arbiter.keepalive(3, "b", bytes_used=30 * GIB)
    arbiter.release(4, "b")
    assert granted(arbiter.acquire(5, "c", request(6, 6, "llm"))) == {"c": ["sim:0"]}, "never more than there is"


def test_a_model_whose_process_has_ended_is_gone_after_the_ttl() -> None:
    arbiter = core(24, ttl=10)
    arbiter.acquire(0, "a", request(10, 0, "llm"))
    arbiter.release(1, "a", resident_bytes=10 * GIB)
    arbiter.acquire(2, "b", request(10, 0, "llm"), local=True)
    arbiter.lose(3, "a")
    arbiter.tick(13)
    assert arbiter.memory["sim:0"].free == 14 * GIB, "a lease of the same process still uses it"
    arbiter.release(14, "b")
    assert arbiter.memory["sim:0"].free == 24 * GIB


def test_the_stream_of_a_model_is_reclaimed_and_learns_that_it_shall_unload() -> None:
    arbiter = core(24)
    token = arbiter.acquire(0, "a", request(20, 0, "llm"))[0][1].granted.fencing_token
    assert [frame.WhichOneof("frame") for _, frame in arbiter.release(1, "a", resident_bytes=20 * GIB)] == ["kept"]
    arbiter.lose(2, "a")
    assert unloads(arbiter.acquire(3, "b", request(20))) == []
    assert unloads(arbiter.reclaim(4, "a", token)) == ["a"]
    assert granted(arbiter.release(5, "a")) == {"b": ["sim:0"]}


def test_an_unloading_that_hangs_is_not_waited_for_for_ever() -> None:
    arbiter = core(24)
    for at, name in enumerate(("a", "b")):
        arbiter.acquire(at, name, request(12, 0, name))
        arbiter.release(at, name, resident_bytes=12 * GIB)
    assert unloads(arbiter.acquire(10, "new", request(12))) == ["a"]
    assert arbiter.next_deadline() == 10 + UNLOAD_SECONDS
    assert unloads(arbiter.tick(10 + UNLOAD_SECONDS)) == ["b"]
    assert arbiter.next_deadline() == 10 + 2 * UNLOAD_SECONDS
    assert granted(arbiter.release(41, "b")) == {"new": ["sim:0"]}
    assert arbiter.memory["sim:0"].free == 0, "what hangs is not granted"


def test_a_preempting_request_takes_a_lease_that_does_not_yield() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "low", request(20), local=True)
    arbiter.acquire(0, "same", request(20, priority=1), local=True)
    asked = arbiter.acquire(1, "high", request(20, priority=1, preempts=True), local=True)
    assert [frame.wanted.revoked_in for lease, frame in asked if frame.wanted.HasField("revoked_in")] == [
        duration(PREEMPT_SECONDS)
    ]
    assert arbiter.tick(2) == []
    ended = arbiter.tick(1 + PREEMPT_SECONDS)
    assert reasons(ended) == {"low": "preempted"}
    assert granted(ended) == {"same": ["sim:0"]}, "the queue keeps its order"
    assert reasons(arbiter.tick(1 + 2 * PREEMPT_SECONDS)) == {}, "a holder of the same priority stays"


def test_a_lease_that_yields_in_time_is_not_taken() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "low", request(), local=True)
    arbiter.acquire(1, "high", request(priority=1, preempts=True), local=True)
    assert granted(arbiter.pause(2, "low")) == {"high": ["sim:0"]}
    assert arbiter.tick(1 + PREEMPT_SECONDS) == []
    arbiter.resume(7, "low")
    assert granted(arbiter.release(8, "high")) == {"low": ["sim:0"]}


def test_only_near_positions_are_reported_each_time() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "holder", request())
    for number in range(1000):
        arbiter.acquire(0, str(number), request())
    assert len(arbiter.release(1, "holder")) < 40


def test_a_request_that_evicts_waits_until_all_other_idle_models_are_gone() -> None:
    arbiter = core(24)
    for lease, model in (("a", "m"), ("b", "n")):
        arbiter.acquire(0, lease, request(2, model=model))
        arbiter.release(1, lease, resident_bytes=2 * GIB)
    asked = request(4, model="n", exclusive=True)
    asked.evicts = True
    assert unloads(arbiter.acquire(2, "c", asked)) == ["a"]
    assert granted(arbiter.release(3, "a")) == {"c": ["sim:0"]}
    assert [model.model for model in arbiter.status(4)[0].models] == ["n"]


@pytest.mark.parametrize("foreign", [0, 23], ids=["free", "overused"])
def test_a_request_of_a_whole_device_that_evicts_waits_until_all_idle_models_are_gone(foreign: int) -> None:
    """`overused`: other processes have taken more than was left, so that less than nothing is free, then and later."""
    arbiter = core(24)
    arbiter.acquire(0, "a", request(2, model="m"))
    arbiter.release(1, "a", resident_bytes=2 * GIB)
    arbiter.observe(1, "sim:0", {"server": 2 * GIB}, foreign * GIB)
    asked = request(0, exclusive=True)
    asked.evicts = True
    assert unloads(arbiter.acquire(2, "b", asked)) == ["a"]
    assert granted(arbiter.release(3, "a")) == {}
    assert granted(arbiter.observe(4, "sim:0", {}, 2 * foreign * GIB)) == {"b": ["sim:0"]}


def test_a_request_of_several_whole_devices_that_evicts_waits_until_all_idle_models_are_gone() -> None:
    arbiter = core(24, 24)
    arbiter.observe(0, "sim:0", {}, 30 * GIB)
    arbiter.acquire(0, "a", request(2, model="m", device="sim:1"))
    arbiter.release(1, "a", resident_bytes=2 * GIB)
    asked = request(0, count=2, exclusive=True)
    asked.evicts = True
    assert unloads(arbiter.acquire(2, "b", asked)) == ["a"]
    assert granted(arbiter.release(3, "a")) == {"b": ["sim:0", "sim:1"]}


def test_a_request_that_evicts_unloads_idle_models_although_what_they_declared_is_too_little() -> None:
    """They may have more than that. If they do not, it waits for memory of other processes."""
    arbiter = core(24)
    arbiter.acquire(0, "a", request(2, model="m"))
    arbiter.release(1, "a", resident_bytes=2 * GIB)
    arbiter.observe(1, "sim:0", {"server": 20 * GIB}, 0)
    asked = request(10, exclusive=True)
    asked.evicts = True
    assert unloads(arbiter.acquire(2, "b", asked)) == ["a"]
    arbiter.release(3, "a")
    assert granted(arbiter.observe(4, "sim:0", {}, 20 * GIB)) == {}
    assert granted(arbiter.observe(5, "sim:0", {}, 0)) == {"b": ["sim:0"]}


def test_a_request_of_several_devices_that_evicts_does_not_count_on_one_with_too_little_memory() -> None:
    arbiter = core(24, 24, 24)
    arbiter.observe(0, "sim:0", {}, 20 * GIB)
    for lease, device in (("a", "sim:1"), ("b", "sim:2")):
        arbiter.acquire(0, lease, request(2, model="m", device=device))
        arbiter.release(1, lease, resident_bytes=2 * GIB)
    asked = request(10, count=2, exclusive=True)
    asked.evicts = True
    assert sorted(unloads(arbiter.acquire(2, "c", asked))) == ["a", "b"]
    arbiter.release(3, "a")
    assert granted(arbiter.release(3, "b")) == {"c": ["sim:1", "sim:2"]}


def test_a_request_that_evicts_does_not_wait_for_an_idle_model_in_host_memory() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "a", request(2, model="m"))
    arbiter.release(1, "a", resident_bytes=20 * GIB)
    arbiter.acquire(2, "b", request(2, model="m"))
    arbiter.pause(3, "b", offloads=True)
    ((_, frame),) = [each for each in arbiter.acquire(4, "c", request(20)) if each[0] == "b"]
    assert granted(arbiter.offloaded(5, "b", frame.offload.number)) == {"c": ["sim:0"]}
    arbiter.release(6, "b")
    arbiter.release(7, "c")
    asked = request(4, exclusive=True)
    asked.evicts = True
    assert granted(arbiter.acquire(8, "d", asked)) == {"d": ["sim:0"]}


def test_a_device_that_vanishes_is_granted_when_it_is_seen_again() -> None:
    arbiter = core(24)
    arbiter.vanish(0, "sim:0")
    frames = arbiter.acquire(1, "a", request(2))
    assert granted(frames) == {}
    assert frames[0][1].queued.reason == "sim:0: the device does not answer any more"
    assert granted(arbiter.observe(2, "sim:0", {}, 0)) == {"a": ["sim:0"]}


def test_a_reading_from_before_an_unloading_does_not_show_its_memory_as_free() -> None:
    arbiter = core(24)
    arbiter.observe(0, "sim:0", {}, 0)
    arbiter.acquire(0, "a", request(20, model="m"))
    arbiter.release(1, "a", resident_bytes=20 * GIB)
    marks = arbiter.memory["sim:0"].marks
    assert unloads(arbiter.acquire(2, "b", request(20))) == ["a"]
    arbiter.release(3, "a")
    assert granted(arbiter.observe(4, "sim:0", {}, 0, marks)) == {}
    assert granted(arbiter.observe(5, "sim:0", {}, 0)) == {"b": ["sim:0"]}


def test_a_waiter_gets_an_estimate_by_past_leases() -> None:
    arbiter = core(24)
    arbiter.acquire(0, "a", request())
    arbiter.release(10, "a")
    arbiter.acquire(20, "b", request())
    ((_, frame),) = [each for each in arbiter.acquire(24, "c", request()) if each[0] == "c"]
    assert seconds_of(frame.queued.eta) == pytest.approx(6)
    ((_, frame),) = [each for each in arbiter.acquire(24, "d", request()) if each[0] == "d"]
    assert seconds_of(frame.queued.eta) == pytest.approx(16)


def test_the_model_of_a_lease_of_several_devices_does_not_stay() -> None:
    arbiter = core(24, 24)
    arbiter.acquire(0, "one", request(6, 8, "m", device="sim:0"))
    arbiter.release(1, "one", resident_bytes=6 * GIB)
    for device in arbiter.devices:
        arbiter.observe(1, device, {"server": 6 * GIB if device == "sim:0" else 0}, 0)
    assert sorted(granted(arbiter.acquire(1, "both", request(6, 8, "m", count=2)))["both"]) == ["sim:0", "sim:1"]
    assert arbiter.memory["sim:0"].free == 10 * GIB, "it does not use the model of one device"
    assert reasons(arbiter.release(2, "both", resident_bytes=6 * GIB)) == {"both": "released"}
    assert arbiter.memory["sim:1"].free == 16 * GIB, "what it has left is free when the device shows it"
    arbiter.observe(3, "sim:0", {"server": 6 * GIB}, 0)
    arbiter.observe(3, "sim:1", {}, 0)
    assert arbiter.memory["sim:1"].free == 24 * GIB
    assert unloads(arbiter.acquire(4, "large", request(20, device="sim:0"))) == ["one"]


def test_a_request_gets_the_device_where_its_model_is() -> None:
    arbiter = core(24, 24)
    for device, model in (("sim:0", "a"), ("sim:1", "b")):
        arbiter.acquire(0, model, request(6, 8, model, device=device))
        arbiter.release(0, model, resident_bytes=6 * GIB)
    for number, (model, device) in enumerate([("b", "sim:1"), ("a", "sim:0"), ("b", "sim:1")]):
        assert granted(arbiter.acquire(1, f"lease {number}", request(6, 8, model))) == {f"lease {number}": [device]}
