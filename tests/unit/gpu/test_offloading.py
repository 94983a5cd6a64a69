"""Models that are offloaded while the leases that use them have yielded: the arbiter's decisions."""

from __future__ import annotations

from pathlib import Path

from lanemesh.gpu.core import ArbiterCore, Frames
from lanemesh.gpu.journal import Journal
from lanemesh.gpu.queue_pass import BYPASS_SECONDS
from lanemesh.gpu.resident import UNLOAD_SECONDS
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

GIB = 1 << 30


def core(*gibibytes: int) -> ArbiterCore:
    return ArbiterCore(
        gpu_pb2.Device(id=f"sim:{number}", memory_bytes=size * GIB) for number, size in enumerate(gibibytes or (24,))
    )


def request(model: str, memory: int = 14, peak: int = 16, **fields: object) -> gpu_pb2.LeaseAcquire:
    return gpu_pb2.LeaseAcquire(
        model=model,
        memory_bytes=memory * GIB,
        peak_bytes=peak * GIB,
        owner="server",
        reload_time=duration(1),
        **fields,  # type: ignore[arg-type]
    )


def offloads(frames: Frames) -> dict[str, int]:
    """The number of the request to each lease that shall offload its model."""
    return {lease: frame.offload.number for lease, frame in frames if frame.HasField("offload")}


def granted(frames: Frames) -> list[str]:
    return [lease for lease, frame in frames if frame.HasField("granted")]


def unloads(frames: Frames) -> list[str]:
    return [lease for lease, frame in frames if frame.HasField("unload")]


def yielded(arbiter: ArbiterCore, *leases: str, offloads: bool = True) -> None:
    """Leases for the model "producer", which have yielded."""
    for lease in leases:
        arbiter.acquire(0, lease, request("producer"), local=True)
        arbiter.pause(0, lease, offloads=offloads)


def test_a_model_is_offloaded_for_who_waits_and_its_lease_restores_it() -> None:
    arbiter = core()
    yielded(arbiter, "p")
    asked = offloads(arbiter.acquire(1, "c", request("consumer"), local=True))
    assert list(asked) == ["p"]
    assert granted(arbiter.offloaded(2, "p", asked["p"])) == ["c"]
    assert arbiter.memory["sim:0"].free == 8 * GIB
    assert granted(arbiter.resume(3, "p")) == []
    assert unloads(arbiter.release(4, "c", resident_bytes=14 * GIB)) == ["c"]
    assert granted(arbiter.release(5, "c")) == ["p"]
    assert arbiter.memory["sim:0"].free == 8 * GIB, "it has the memory of its model again"


def test_its_memory_is_granted_when_the_device_shows_that_it_is_free() -> None:
    arbiter = core()
    arbiter.observe(0, "sim:0", {}, 0)
    yielded(arbiter, "p")
    asked = offloads(arbiter.acquire(1, "c", request("consumer"), local=True))
    assert granted(arbiter.offloaded(2, "p", asked["p"])) == [], "said, but not seen"
    assert granted(arbiter.observe(3, "sim:0", {"server": 14 * GIB}, 0)) == []
    assert granted(arbiter.observe(4, "sim:0", {"server": 0}, 0)) == ["c"]


def test_a_model_is_not_offloaded_if_idle_ones_are_enough_or_one_of_its_leases_does_not_offer_it() -> None:
    arbiter = core()
    arbiter.acquire(0, "idle", request("idle", 6, 6), local=True)
    arbiter.release(0, "idle", resident_bytes=6 * GIB)
    yielded(arbiter, "p")
    frames = arbiter.acquire(1, "small", request("small", 8, 8), local=True)
    assert (offloads(frames), unloads(frames)) == ({}, ["idle"])
    arbiter.release(2, "small")
    arbiter.release(2, "idle")
    yielded(arbiter, "q", offloads=False)
    assert offloads(arbiter.acquire(3, "c", request("consumer"), local=True)) == {}
    assert set(offloads(arbiter.pause(4, "q", offloads=True))) == {"p", "q"}


def test_a_model_is_not_offloaded_while_work_goes_on_that_may_be_all_that_is_in_the_way() -> None:
    arbiter = core()
    yielded(arbiter, "p")
    arbiter.acquire(0, "work", request("other", 8, 10), local=True)
    assert offloads(arbiter.acquire(1, "c", request("consumer", 8, 10), local=True)) == {}
    late = arbiter.acquire(1 + BYPASS_SECONDS, "d", request("third", 20, 20), local=True)
    assert list(offloads(late)) == ["p"], "for the first one that waits, which has waited long"


def test_a_request_that_has_waited_long_needs_no_other_event_for_a_model_to_be_offloaded() -> None:
    arbiter = core()
    yielded(arbiter, "p")
    ((_, work),) = arbiter.acquire(0, "work", request("other", 8, 10), local=True)
    assert work.HasField("granted")
    arbiter.acquire(0.1, "c", request("consumer", 8, 10), local=True)
    due = arbiter.next_deadline()
    assert due == 0.1 + BYPASS_SECONDS
    assert list(offloads(arbiter.tick(due))) == ["p"]


def test_a_response_to_an_earlier_request_has_no_effect() -> None:
    arbiter = core()
    yielded(arbiter, "p", "q")
    first = offloads(arbiter.acquire(1, "c", request("consumer"), local=True))
    assert first["p"] == first["q"]
    assert granted(arbiter.offloaded(2, "p", first["p"])) == ["c"]
    arbiter.release(3, "c")
    assert granted(arbiter.resume(3, "p")) == ["p"]
    arbiter.acquire(4, "d", request("consumer"), local=True)
    second = offloads(arbiter.pause(4, "p", offloads=True))
    assert second["p"] > first["p"]
    assert arbiter.offloaded(5, "q", first["q"]) == []
    assert granted(arbiter.offloaded(5, "q", second["q"])) == ["d"]


def test_an_offloading_that_fails_leaves_the_model_and_the_wait_says_so() -> None:
    arbiter = core()
    yielded(arbiter, "p")
    asked = offloads(arbiter.acquire(1, "c", request("consumer", wait_timeout=duration(5)), local=True))
    assert offloads(arbiter.offloaded(2, "p", asked["p"], certain=False)) == {}, "it is not asked for again"
    ((lease, last),) = arbiter.tick(6)
    assert (lease, last.revoked.reason) == ("c", "wait-timeout")
    assert '"producer" (14.0 GiB, whose offloading has failed)' in last.revoked.message
    assert granted(arbiter.resume(7, "p")) == ["p"]


def test_a_wait_for_a_model_that_cannot_be_offloaded_names_it_and_what_to_do() -> None:
    arbiter = core()
    yielded(arbiter, "p", offloads=False)
    assert offloads(arbiter.acquire(1, "c", request("consumer", wait_timeout=duration(5)), local=True)) == {}
    ((_, last),) = arbiter.tick(6)
    assert last.revoked.message == (
        "Waited 5.0 s for a GPU: sim:0: it needs 16.0 GiB, and 10.0 GiB of 24.0 GiB are free (models have 14.0 GiB); "
        'on sim:0 stay the models of firings that wait themselves, and are not offloaded: "producer" (14.0 GiB). Give their '
        "classes offload_model and restore_model, or them larger lanes, so that they end, or declare less memory, if less is used."
    )


def test_an_offloading_that_hangs_is_not_waited_for_for_ever() -> None:
    arbiter = core(24)
    yielded(arbiter, "p")
    arbiter.acquire(0, "other", request("other", 8, 8), local=True)
    arbiter.pause(0, "other", offloads=True)
    assert list(offloads(arbiter.acquire(1, "c", request("consumer", 10, 10), local=True))) == ["p"]
    assert offloads(arbiter.tick(1 + BYPASS_SECONDS)) == {}
    assert arbiter.next_deadline() == 1 + UNLOAD_SECONDS
    assert list(offloads(arbiter.tick(1 + UNLOAD_SECONDS))) == ["other"]


def test_a_lost_stream_is_asked_again_when_it_is_reclaimed() -> None:
    arbiter = core()
    ((_, grant),) = arbiter.acquire(0, "p", request("producer"))
    arbiter.pause(0, "p", offloads=True)
    arbiter.lose(1, "p")
    assert offloads(arbiter.acquire(2, "c", request("consumer"))) == {}
    asked = offloads(arbiter.reclaim(3, "p", grant.granted.fencing_token))
    assert granted(arbiter.offloaded(4, "p", asked["p"])) == ["c"]


def test_a_lease_that_ends_while_its_model_is_offloaded_leaves_nothing() -> None:
    arbiter = core()
    yielded(arbiter, "p")
    asked = offloads(arbiter.acquire(1, "c", request("consumer"), local=True))
    arbiter.offloaded(2, "p", asked["p"])
    frames = arbiter.release(3, "p", resident_bytes=14 * GIB)
    assert [frame.WhichOneof("frame") for lease, frame in frames if lease == "p"] == ["revoked"], "nothing is kept"
    arbiter.release(4, "c")
    assert (arbiter.memory["sim:0"].free, arbiter.memory["sim:0"].residents) == (24 * GIB, {})


def test_a_kept_model_whose_lease_ends_before_it_is_offloaded_is_unloaded_instead() -> None:
    arbiter = core()
    arbiter.acquire(0, "keeper", request("producer"), local=True)
    arbiter.release(0, "keeper", resident_bytes=14 * GIB)
    yielded(arbiter, "p")
    assert list(offloads(arbiter.acquire(1, "c", request("consumer"), local=True))) == ["p"]
    assert unloads(arbiter.release(2, "p")) == ["keeper"], "no lease answers the request to offload it"
    assert granted(arbiter.release(3, "keeper")) == ["c"]


def test_a_kept_model_whose_lease_ends_before_it_is_offloaded_is_used_again_if_no_request_waits() -> None:
    arbiter = core()
    arbiter.acquire(0, "keeper", request("producer"), local=True)
    arbiter.release(0, "keeper", resident_bytes=14 * GIB)
    yielded(arbiter, "p")
    arbiter.acquire(1, "c", request("consumer"), local=True)
    arbiter.release(2, "c")
    arbiter.release(3, "p")
    assert granted(arbiter.acquire(4, "q", request("producer"), local=True)) == ["q"]


def test_a_model_on_several_devices_is_not_offloaded() -> None:
    arbiter = core(24, 24)
    arbiter.acquire(0, "p", request("producer", count=2), local=True)
    arbiter.pause(0, "p", offloads=True)
    assert offloads(arbiter.acquire(1, "c", request("consumer"), local=True)) == {}


def test_an_arbiter_that_was_restarted_learns_it_from_the_next_yield(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    arbiter = core()
    ((_, grant),) = arbiter.acquire(0, "p", request("producer"))
    arbiter.pause(0, "p", offloads=True)
    journal.write(arbiter.take_changes(), arbiter.tokens, arbiter.peaks)
    again = core()
    again.restore(0, journal.state)
    journal.close()
    again.reclaim(1, "p", grant.granted.fencing_token)
    assert offloads(again.acquire(2, "c", request("consumer"))) == {}
    assert list(offloads(again.pause(3, "p", offloads=True))) == ["p"]
