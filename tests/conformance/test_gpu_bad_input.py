"""Holders that send what they must not, devices that vanish, and requests of sizes that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from google.protobuf.duration_pb2 import Duration
from lanemesh.gpu import ArbiterLink, EmbeddedLink, GpuArbiter, GpuClient, LeaseTimeout, frames, preemption
from lanemesh.gpu import arbiter as gpu_arbiter
from lanemesh.gpu.observing import Reading
from lanemesh.v1 import gpu_pb2

from rigs.gpu import EVERYWHERE, Place, entered, place


@pytest.fixture(params=EVERYWHERE)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place(request.param) as made:
        yield made


class Stream:
    """The holder's end of a stream, which sends the frames that a test gives it."""

    def __init__(self, link: ArbiterLink) -> None:
        self._frames: asyncio.Queue[gpu_pb2.LeaseResponse | None] = asyncio.Queue()
        self._stream = link.open(self._frames.put_nowait)

    def send(self, *requests: gpu_pb2.LeaseRequest) -> None:
        for request in requests:
            self._stream.send(request)

    async def until(self, kind: str) -> gpu_pb2.LeaseResponse:
        """The next frame of a kind."""
        while True:
            frame = await self._frames.get()
            assert frame is not None, f"the stream ended without {kind}"
            if frame.HasField(kind):  # type: ignore[arg-type]
                return frame

    def close(self) -> None:
        """The holder leaves."""
        self._stream.close()

    async def rest(self) -> list[gpu_pb2.LeaseResponse]:
        """Leaves a stream that the arbiter ends. Returns all frames that were still to come."""
        self.close()
        found = []
        while (frame := await self._frames.get()) is not None:
            found.append(frame)
        return found


def acquire(**request: object) -> gpu_pb2.LeaseRequest:
    return gpu_pb2.LeaseRequest(acquire=gpu_pb2.LeaseAcquire(**request))  # type: ignore[arg-type]


AFTERWARDS = (frames.KEEPALIVE, frames.YIELD, frames.RESUME, frames.RELEASE)
"""What a holder sends that does not know yet that its lease has ended."""


@pytest.mark.conformance("GPU-05")
async def test_frames_after_a_revocation_have_no_effect(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "PREEMPT_SECONDS", 0.0)
    stream = Stream(here.link())
    stream.send(acquire())
    lost = (await stream.until("granted")).granted
    async with here.client("urgent").lease(priority=1, preempts=True) as lease:
        token = lease.fencing_token
        assert token > lost.fencing_token
        assert (await stream.until("revoked")).revoked.reason == "preempted"
        stream.send(*AFTERWARDS)
        assert await stream.rest() == [], "nothing is answered after the end"
        again = Stream(here.link())
        reclaim = gpu_pb2.LeaseReclaim(lease_id=lost.lease_id, fencing_token=lost.fencing_token)
        again.send(gpu_pb2.LeaseRequest(reclaim=reclaim), *AFTERWARDS)
        assert (await again.until("revoked")).revoked.reason == "expired"
        assert await again.rest() == []
        assert lease.valid
        assert lease.fencing_token == token
    await entered(here.client("next").lease())


@pytest.mark.conformance("GPU-05")
async def test_a_release_by_another_one_has_no_effect(here: Place) -> None:
    holder, waiter, thief = (Stream(here.link()) for _ in range(3))
    holder.send(acquire())
    held = (await holder.until("granted")).granted
    waiter.send(acquire())
    await waiter.until("queued")
    wrong = gpu_pb2.LeaseReclaim(lease_id=held.lease_id, fencing_token=held.fencing_token - 1)
    thief.send(gpu_pb2.LeaseRequest(reclaim=wrong), frames.RELEASE)
    assert (await thief.until("revoked")).revoked.reason == "stale-token"
    assert await thief.rest() == []
    holder.send(frames.KEEPALIVE)
    assert (await holder.until("granted")).granted.fencing_token == held.fencing_token
    # The holder has a new stream, and its old one belongs to no holder any more.
    successor = Stream(here.link())
    reclaim = gpu_pb2.LeaseReclaim(lease_id=held.lease_id, fencing_token=held.fencing_token)
    successor.send(gpu_pb2.LeaseRequest(reclaim=reclaim))
    await successor.until("granted")
    holder.send(frames.RELEASE)
    assert await holder.rest() == []
    successor.send(frames.KEEPALIVE)
    assert (await successor.until("granted")).granted.fencing_token == held.fencing_token
    successor.send(frames.RELEASE)
    assert (await waiter.until("granted")).granted.fencing_token > held.fencing_token
    waiter.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"model": "m", "owner": "p"}, "gives no memory_bytes"),
        ({"memory_bytes": 2, "peak_bytes": 1}, "its peak of 1 bytes is below its memory of 2 bytes"),
        ({"memory_bytes": 1, "reload_time": Duration(seconds=-1)}, "its reload time is -1 s"),
    ],
    ids=["no size", "a peak below the memory", "a negative time"],
)
async def test_a_request_that_contradicts_itself_is_refused(here: Place, wrong: dict[str, object], says: str) -> None:
    stream = Stream(here.link())
    stream.send(acquire(**wrong))
    revoked = (await stream.until("revoked")).revoked
    assert revoked.reason == "bad-request"
    assert says in revoked.message
    assert await stream.rest() == []


async def test_a_request_without_a_size_has_the_device_for_itself_and_a_negative_wait_is_over_at_once(
    here: Place,
) -> None:
    first, second = Stream(here.link()), Stream(here.link())
    first.send(acquire(memory_bytes=0, peak_bytes=0, count=0))
    await first.until("granted")
    second.send(acquire(memory_bytes=1, wait_timeout=Duration(seconds=-5)))
    assert (await second.until("revoked")).revoked.reason == "wait-timeout"
    first.close()


async def test_a_model_that_claims_more_than_the_device_has_counts_as_all_of_it(here: Place) -> None:
    stream = Stream(here.link())
    stream.send(acquire(memory_bytes=1, model="m", owner="p"))
    await stream.until("granted")
    release = gpu_pb2.LeaseRelease(resident_bytes=2**64 - 1, peak_bytes_seen=2**64 - 1)
    stream.send(gpu_pb2.LeaseRequest(release=release))
    await stream.until("kept")
    (device,) = await here.link().status()
    assert (device.memory.models, device.memory.free) == (2**30, 0)
    waiting = asyncio.create_task(entered(here.client("next").lease(memory="1GiB")))
    await stream.until("unload")
    stream.send(frames.RELEASE)
    assert (await waiting).id == "sim:0"
    await stream.rest()


class Devices:
    """What the devices show, and which of them do."""

    def __init__(self) -> None:
        self.there = {"sim:0"}

    def read(self) -> Mapping[str, Reading]:
        return {device: Reading(0) for device in self.there}


async def test_a_device_that_vanishes_is_granted_to_no_one_until_it_answers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu_arbiter, "OBSERVE_SECONDS", 0.001)
    devices = Devices()
    arbiter = GpuArbiter([gpu_pb2.Device(id="sim:0", memory_bytes=2**30)], observer=devices)
    link = EmbeddedLink(arbiter)
    client, other = (GpuClient(link, gpu_pb2.LeaseHolder(component=name)) for name in ("holder", "waiter"))
    try:
        async with client.lease(memory=1) as lease:
            waiting = asyncio.create_task(entered(other.lease(exclusive=True, memory=1)))
            devices.there.clear()
            while not any("does not answer any more" in each.reason for each in arbiter.leases()):
                await arbiter.changed.wait()
            assert lease.valid, "what is held is taken from no one"
            assert not waiting.done()
            with pytest.raises(LeaseTimeout, match="sim:0: the device does not answer any more"):
                await entered(other.lease(memory=1, wait_timeout=0))
        devices.there.add("sim:0")
        assert (await waiting).id == "sim:0"
    finally:
        await link.close()
        arbiter.close()
