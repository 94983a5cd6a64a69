"""Models that stay loaded after their leases: shared, unloaded on request, loaded again, and out of memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lanemesh.gpu import GpuArbiter, GpuOutOfMemory, Lease, LeaseLost, OutOfMemory, find_devices
from lanemesh.gpu import models as gpu_models
from lanemesh.gpu.observing import SimulatedObserver
from lanemesh.gpu.simulated import simulated_memory
from lanemesh.v1 import gpu_pb2

from rigs.gpu import EVERYWHERE, SOON, Client, Place, entered, place


@pytest.fixture(params=EVERYWHERE)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place(request.param) as made:
        yield made


class Loads:
    """Loads and unloads models, and remembers in which order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.unloading = asyncio.Event()
        self.may_unload = asyncio.Event()
        self.may_unload.set()

    async def use(self, client: Client, model: str, memory: str = "600MiB", **options: object) -> str:
        async with client.lease(memory=memory, model=model, **options) as lease:  # type: ignore[arg-type]
            return await self.keep(lease, model)

    async def keep(self, lease: Lease, model: str) -> str:
        return await lease.keep(lambda: self._load(model), self._unload)

    async def _load(self, model: str) -> str:
        self.done.append(f"load {model}")
        return model

    async def _unload(self, model: str) -> None:
        self.unloading.set()
        await self.may_unload.wait()
        self.done.append(f"unload {model}")


async def test_a_model_stays_loaded_and_is_shared_by_later_leases(here: Place) -> None:
    loads, client = Loads(), here.client("a")
    assert [await loads.use(client, "m") for _ in range(3)] == ["m"] * 3
    assert loads.done == ["load m"]
    (device,) = here.arbiter.status()
    assert [(model.model, model.memory_bytes) for model in device.models] == [("m", 600 * 2**20)]
    assert not device.leases


async def test_an_idle_model_is_unloaded_for_another_one_and_loaded_again(here: Place) -> None:
    loads, client = Loads(), here.client("a")
    for model in "mnm":
        await loads.use(client, model, wait_timeout=SOON)
    assert loads.done == ["load m", "unload m", "load n", "unload n", "load m"]


async def test_a_model_in_use_is_not_unloaded(here: Place) -> None:
    loads, client, other = Loads(), here.client("a"), here.client("b")
    async with client.lease(memory="600MiB", model="m") as lease:
        await loads.keep(lease, "m")
        waiting = asyncio.create_task(loads.use(other, "n"))
        await other.until_place(1)
        assert loads.done == ["load m"]
    assert await asyncio.wait_for(waiting, SOON) == "n"
    assert loads.done == ["load m", "unload m", "load n"]


async def test_a_reload_during_the_unloading_is_ordered_after_it(here: Place) -> None:
    loads, client, other = Loads(), here.client("a"), here.client("b")
    await loads.use(client, "m")
    loads.may_unload.clear()
    first = asyncio.create_task(loads.use(other, "n"))
    await asyncio.wait_for(loads.unloading.wait(), SOON)
    again = asyncio.create_task(loads.use(client, "m"))
    queued = await asyncio.wait_for(client.places.get(), SOON)
    assert queued == 2
    waits = {status.model: status.reason for status in here.arbiter.leases() if status.position}
    assert '"m" is being unloaded' in waits["m"]
    assert 'being unloaded: "m"' in waits["n"]
    loads.may_unload.set()
    await asyncio.wait_for(asyncio.gather(first, again), SOON)
    assert loads.done == ["load m", "unload m", "load n", "unload n", "load m"]


async def test_an_unloading_that_raises_is_reported_and_others_continue(
    here: Place, caplog: pytest.LogCaptureFixture
) -> None:
    client = here.client("a")

    async def unload(_: object) -> None:
        raise RuntimeError("the driver is stuck")

    async with client.lease(memory="600MiB", model="m") as lease:
        await lease.keep(lambda: "m", unload)
    await asyncio.wait_for(entered(client.lease(memory="600MiB")), SOON)
    assert 'unloading the model "m" from sim:0 failed: RuntimeError: the driver is stuck' in caplog.text


async def test_an_unloading_that_hangs_is_abandoned_and_reported(
    here: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_models, "UNLOAD_TIMEOUT", 0.05)
    loads, client = Loads(), here.client("a")
    await loads.use(client, "m")
    loads.may_unload.clear()
    await asyncio.wait_for(entered(client.lease(memory="600MiB")), SOON)
    assert "took longer than 0.05 s" in caplog.text


async def test_the_memory_of_a_failed_unloading_is_granted_when_the_device_shows_it(here: Place) -> None:
    client = here.client("a")
    owner, size = here.links[-1].models.owner, 600 * 2**20

    async def unload(_: object) -> None:
        raise RuntimeError("stuck")

    here.arbiter.observe("sim:0", {}, 0)
    async with client.lease(memory=size, model="m") as lease:
        await lease.keep(lambda: "m", unload)
    here.arbiter.observe("sim:0", {owner: size}, 0)
    waiting = asyncio.create_task(entered(client.lease(memory="600MiB")))
    await client.until_place(1)
    while not here.arbiter.status()[0].memory.lingering:
        await here.arbiter.changed.wait()
    here.arbiter.observe("sim:0", {owner: size}, 0)
    assert not waiting.done()
    assert "ended leases may have 600 MiB" in here.arbiter.leases()[-1].reason
    here.arbiter.observe("sim:0", {}, 0)
    await asyncio.wait_for(waiting, SOON)


async def test_a_load_that_fails_is_tried_again_by_the_next_lease(here: Place) -> None:
    client, loads = here.client("a"), Loads()

    def fail() -> str:
        raise ValueError("no such file")

    with pytest.raises(ValueError, match="no such file"):
        async with client.lease(memory="600MiB", model="m") as lease:
            await lease.keep(fail)
    assert here.arbiter.status()[0].memory.models == 0
    assert await loads.use(client, "m") == "m"


async def test_a_closed_link_unloads_its_models(here: Place) -> None:
    loads, client = Loads(), here.client("a")
    await loads.use(client, "m")
    await here.links[-1].close()
    assert loads.done == ["load m", "unload m"]


async def test_a_model_whose_stream_is_over_is_unloaded() -> None:
    async with place("grpc") as there:
        loads, client = Loads(), there.client("a")
        await loads.use(client, "m")
        there.arbiter.close()
        await asyncio.wait_for(loads.unloading.wait(), SOON)


async def test_synchronous_bodies_keep_models(here: Place) -> None:
    client = here.client("sync")
    loaded: list[str] = []

    def body() -> str:
        with client.lease(memory="600MiB", model="m") as lease:
            return lease.keep_sync(lambda: loaded.append("m") or "m")  # type: ignore[func-returns-value]

    assert [await asyncio.to_thread(body) for _ in range(2)] == ["m", "m"]
    assert loaded == ["m"]


async def test_only_a_lease_of_one_device_with_a_model_keeps_it(here: Place) -> None:
    client = here.client("a")
    with pytest.raises(ValueError, match="needs its memory"):
        client.lease(model="m")
    async with client.lease(memory="1MiB") as lease:
        with pytest.raises(RuntimeError, match="with a model"):
            await lease.keep(lambda: "m")


async def test_work_after_the_lease_is_refused(here: Place) -> None:
    lease = here.client("a").lease(memory="1MiB", model="m")
    async with lease:
        lease.check()
    with pytest.raises(LeaseLost, match="not held now"):
        lease.check()
    with pytest.raises(LeaseLost, match="not held now"):
        await lease.keep(lambda: "m")


# GPU-11


@pytest.mark.conformance("GPU-11")
async def test_out_of_memory_evicts_idle_models_and_tries_once_more(here: Place) -> None:
    loads, client = Loads(), here.client("a")
    await loads.use(client, "idle", "100MiB")
    attempts: list[tuple[str, ...]] = []

    async def work(lease: Lease) -> int:
        attempts.append(tuple(loads.done))
        if len(attempts) == 1:
            raise OutOfMemory("tried to allocate 2 GiB")
        return lease.fencing_token

    assert await client.attempt(work, memory="100MiB")
    assert attempts == [("load idle",), ("load idle", "unload idle")]


@pytest.mark.conformance("GPU-11")
async def test_several_leases_share_a_load_that_runs_out_of_memory_and_each_tries_once_more(here: Place) -> None:
    joined, loads, begun, link = asyncio.Event(), 0, 0, here.link()

    async def load() -> str:
        nonlocal loads
        loads += 1
        if loads == 1:
            await joined.wait()
            raise OutOfMemory("no memory")
        return "model"

    async def work(lease: Lease) -> str:
        nonlocal begun
        begun += 1
        if begun == 3:
            asyncio.get_running_loop().call_soon(joined.set)
        return await lease.keep(load)

    clients = [Client(link, f"client {number}", "r1") for number in range(3)]
    results = [client.attempt(work, memory="300MiB", model="m", wait_timeout=SOON) for client in clients]
    assert await asyncio.gather(*results) == ["model"] * 3
    assert loads == 2


async def test_out_of_memory_twice_is_a_clear_error(here: Place) -> None:
    attempts = 0

    async def work(lease: Lease) -> None:
        nonlocal attempts
        attempts += 1
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(GpuOutOfMemory, match=r"GPU sim:0 \(1.0 GiB\) ran out of memory twice.*lease was of 100 MiB"):
        await here.client("a").attempt(work, memory="100MiB")
    assert attempts == 2


@pytest.mark.parametrize("kind", [OutOfMemory, RuntimeError])
async def test_an_error_whose_text_raises_is_tried_again_if_it_is_out_of_memory(
    here: Place, kind: type[Exception]
) -> None:
    class NoText(kind):  # type: ignore[misc,valid-type]
        def __str__(self) -> str:
            raise ValueError

    async def work(lease: Lease) -> None:
        raise NoText

    with pytest.raises(GpuOutOfMemory if kind is OutOfMemory else NoText) as caught:
        await here.client("a").attempt(work, memory="100MiB")
    assert kind is RuntimeError or "ran out of memory twice" in str(caught.value)


async def test_a_request_gets_what_earlier_leases_for_the_model_had(here: Place) -> None:
    lines: list[str] = []
    link = here.link()
    client = Client(link, "a", "r1")
    client._warn = lines.append
    async with client.lease(memory="600MiB", model="m") as lease:
        lease.report_use(720 * 2**20)
    async with client.lease(memory="600MiB", model="m") as lease:
        assert lease.memory_bytes == 720 * 2**20
    (line,) = lines
    assert 'requested 600 MiB of sim:0 for the model "m" and got 720 MiB' in line


async def test_waits_are_reported_with_reason_and_estimate(here: Place) -> None:
    client, other = here.client("a"), here.client("b")
    await entered(client.lease())
    reports: asyncio.Queue[gpu_pb2.LeaseQueued | None] = asyncio.Queue()
    other._on_waiting = reports.put_nowait
    async with client.lease():
        waiting = asyncio.create_task(entered(other.lease(memory="1MiB")))
        queued = await asyncio.wait_for(reports.get(), SOON)
    assert queued is not None
    assert (queued.position, queued.HasField("eta")) == (1, True)
    assert "sim:0: sim:0 has been held for" in queued.reason
    assert await asyncio.wait_for(reports.get(), SOON) is None
    await waiting


async def test_watch_sends_changes_until_the_arbiter_stops(here: Place) -> None:
    link, client = here.link(), here.client("a")
    watching = link.watch()
    first = await asyncio.wait_for(anext(watching), SOON)
    assert [device.device.id for device in first.devices] == ["sim:0"]
    async with client.lease(memory="1MiB", purpose="draws a picture"):
        changed = await asyncio.wait_for(anext(watching), SOON)
        assert [lease.purpose for lease in changed.leases] == ["draws a picture"]
        (listed,) = await link.leases()
        assert listed.holder.component == "a"
        assert await link.leases("another run") == []
    here.arbiter.close()
    async with asyncio.timeout(SOON):
        async for _ in watching:
            pass


async def test_explain_names_what_is_in_the_way(here: Place) -> None:
    client, other, last = here.client("a"), here.client("b"), here.client("c")
    async with client.lease(memory="600MiB"):
        tasks = [asyncio.create_task(entered(other.lease(memory="700MiB")))]
        await other.until_place(1)
        tasks.append(asyncio.create_task(entered(last.lease(memory="800MiB"))))
        await last.until_place(2)
        (found,) = await here.link().explain(gpu_pb2.ExplainRequest(component="c"))
        assert found.lease.position == 2
        assert found.facts[0] == "sim:0: it needs 800 MiB, and 424 MiB of 1.0 GiB are free (leases have 600 MiB)"
        assert 'before it in the queue: "b"' in found.facts[1]
        assert [holder.holder.component for holder in found.holders] == ["a"]
    await asyncio.wait_for(asyncio.gather(*tasks), SOON)


async def test_the_memory_of_a_lost_lease_is_seen_as_free_while_no_stream_is_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANEMESH_GPUS", "sim:0=24GiB")
    monkeypatch.setenv("LANEMESH_GPU_STATE", str(tmp_path))
    arbiter = GpuArbiter(find_devices(), ttl=0.05, observer=SimulatedObserver(["sim:0"]))
    granted = asyncio.Event()
    stream = arbiter.open(lambda frame: granted.set() if frame is not None and frame.HasField("granted") else None)
    acquire = gpu_pb2.LeaseAcquire(memory_bytes=6 << 30, owner=f"{os.getpid()}-x")
    stream.send(gpu_pb2.LeaseRequest(acquire=acquire))
    async with asyncio.timeout(SOON):
        await granted.wait()
        with simulated_memory().allocate("sim:0", "6GiB"):
            stream.lose()
            while not arbiter.status()[0].memory.lingering:
                await arbiter.changed.wait()
            assert not arbiter.status()[0].leases
            for _ in range(3):  # it is read while the memory is still in use
                await arbiter.changed.wait()
        while arbiter.status()[0].memory.free < 24 << 30:
            await arbiter.changed.wait()
    arbiter.close()
