"""GPU leases, with the arbiter in this process and over gRPC: the same behaviours."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from lanemesh.gpu import (
    ArbiterLink,
    ArbiterUnreachable,
    EmbeddedLink,
    GpuArbiter,
    GpuClient,
    Lease,
    LeaseError,
    LeaseLost,
    LeaseTimeout,
    NoSuchDevice,
    connect,
    frames,
    status,
)
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

from rigs.gpu import EVERYWHERE, SOON, Place, entered, place
from rigs.runs import until


@pytest.fixture(params=EVERYWHERE)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with place(request.param) as made:
        yield made


async def hold(lease: Lease, until: asyncio.Event, held: asyncio.Event) -> int:
    """Holds a lease until it is released; returns its token."""
    async with lease:
        held.set()
        await until.wait()
        return lease.fencing_token


# GPU-01


@pytest.mark.conformance("GPU-01")
async def test_leases_of_one_device_never_overlap(here: Place) -> None:
    inside: list[str] = []
    tokens: list[int] = []

    async def work(name: str) -> None:
        async with here.client(name).lease() as lease:
            assert lease.device.id == "sim:0"
            assert lease.valid
            assert not inside
            inside.append(name)
            tokens.append(lease.fencing_token)
            for _ in range(5):
                await asyncio.sleep(0)
            inside.remove(name)

    await asyncio.gather(*(work(f"node_{number}") for number in range(20)))
    assert len(tokens) == 20
    assert tokens == sorted(set(tokens))


@pytest.mark.conformance("GPU-01")
@pytest.mark.parametrize("kind", EVERYWHERE)
async def test_leases_of_two_devices_overlap(kind: str) -> None:
    async with place(kind, devices=2) as two:
        both = asyncio.Barrier(2)

        async def work(name: str) -> str:
            async with two.client(name).lease() as lease:
                await both.wait()
                return lease.device.id

        assert set(await asyncio.gather(work("a"), work("b"))) == {"sim:0", "sim:1"}


# GPU-04


@pytest.mark.conformance("GPU-04")
async def test_a_wait_that_times_out_names_the_holder_and_leaves_nothing_behind(here: Place) -> None:
    async with here.client("llm_1", "r7").lease() as holding:
        with pytest.raises(LeaseTimeout) as raised:
            async with here.client("late").lease(wait_timeout=0.05):
                pytest.fail("the device is held")
        holder = r'sim:0 has been held for \d+\.\d s by "llm_1" of run r7 on 127\.0\.0\.1:7001'
        assert re.search(holder, str(raised.value))
        (device,) = here.arbiter.status()
        assert not device.waiting
        assert [lease.holder.component for lease in device.leases] == ["llm_1"]
        assert holding.valid
    (device,) = here.arbiter.status()
    assert not device.leases


@pytest.mark.conformance("GPU-04")
async def test_a_cancelled_waiter_leaves_nothing_behind(here: Place) -> None:
    first, second, third = here.client("first"), here.client("second"), here.client("third")
    release, held = asyncio.Event(), asyncio.Event()
    async with first.lease():
        gives_up = asyncio.create_task(hold(second.lease(), release, asyncio.Event()))
        await second.until_place(1)
        patient = asyncio.create_task(hold(third.lease(), release, held))
        await third.until_place(2)
        gives_up.cancel()
        await third.until_place(1)
        (device,) = here.arbiter.status()
        assert [holder.component for holder in device.waiting] == ["third"]
        assert gives_up.cancelled()
    await held.wait()
    release.set()
    await patient


@pytest.mark.conformance("GPU-04")
async def test_a_cancel_that_crosses_the_grant_leaves_nothing_behind(here: Place) -> None:
    for _ in range(20):
        waiter = here.client("fickle")
        async with here.client("first").lease():
            fickle = asyncio.create_task(hold(waiter.lease(), asyncio.Event(), asyncio.Event()))
            await waiter.until_place(1)
        fickle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fickle
    async with here.client("last").lease(wait_timeout=SOON):
        pass


# GPU-05


@pytest.mark.conformance("GPU-05")
async def test_cancelling_one_run_frees_no_other_runs_lease(here: Place) -> None:
    ours, theirs, next_in_line = here.client("ours", "r1"), here.client("theirs", "r2"), here.client("next", "r3")
    held, release = asyncio.Event(), asyncio.Event()
    async with ours.lease() as lease:
        cancelled = asyncio.create_task(hold(theirs.lease(), release, asyncio.Event()))
        await theirs.until_place(1)
        waiting = asyncio.create_task(hold(next_in_line.lease(), release, held))
        await next_in_line.until_place(2)
        cancelled.cancel()
        await next_in_line.until_place(1)
        assert lease.valid
        assert not held.is_set()
        refused = await first_frame(here.link(), reclaim(lease, token=lease.fencing_token - 1))
        assert refused.revoked.reason == "stale-token"
        assert lease.valid
        assert not held.is_set()
    await held.wait()
    release.set()
    await waiting


def reclaim(lease: Lease, token: int) -> gpu_pb2.LeaseRequest:
    assert lease._session is not None
    lease_id = lease._session.granted.lease_id
    return gpu_pb2.LeaseRequest(reclaim=gpu_pb2.LeaseReclaim(lease_id=lease_id, fencing_token=token))


async def first_frame(link: ArbiterLink, frame: gpu_pb2.LeaseRequest) -> gpu_pb2.LeaseResponse:
    """What the arbiter answers to a first frame on a stream of its own, which is then ended."""
    answers: asyncio.Queue[gpu_pb2.LeaseResponse | None] = asyncio.Queue()
    stream = link.open(answers.put_nowait)
    stream.send(frame)
    answer = await answers.get()
    stream.close()
    assert answer is not None
    return answer


# GPU-06


@pytest.mark.timing
@pytest.mark.conformance("GPU-06")
@pytest.mark.parametrize("kind", EVERYWHERE)
async def test_a_lost_holder_frees_its_device_when_the_ttl_ends_not_before(kind: str) -> None:
    ttl = 0.5
    async with place(kind, ttl=ttl) as short:
        gone = await first_frame(short.link(), gpu_pb2.LeaseRequest(acquire=gpu_pb2.LeaseAcquire()))
        lost_at = time.monotonic()
        async with short.client("next").lease() as lease:
            assert ttl - 0.05 < time.monotonic() - lost_at < ttl + 2
            assert lease.fencing_token > gone.granted.fencing_token


HOLDER = """
import asyncio, sys
from lanemesh.gpu import GpuClient, LeaseLost, connect
from lanemesh.v1 import gpu_pb2

async def main():
    gpu = GpuClient(connect(sys.argv[1]), gpu_pb2.LeaseHolder(component="holder"))
    try:
        async with gpu.lease() as lease:
            print("held", lease.fencing_token, flush=True)
            sys.stdin.readline()
            print("valid" if lease.valid else "fenced", flush=True)
    except LeaseLost:
        print("lost", flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def holder_process(address: str | None) -> AsyncIterator[asyncio.subprocess.Process]:
    assert address is not None
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, address, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().split()


@pytest.mark.timing
@pytest.mark.conformance("GPU-06")
async def test_a_killed_holder_frees_its_device_when_the_ttl_ends() -> None:
    ttl = 1.0
    async with place("grpc", ttl=ttl) as short, holder_process(short.address) as process:
        assert (await line(process))[0] == "held"
        killed_at = time.monotonic()
        process.kill()
        async with short.client("next").lease():
            assert ttl - 0.05 < time.monotonic() - killed_at < ttl + 2


@pytest.mark.conformance("GPU-06")
async def test_a_holder_that_was_stopped_past_its_ttl_fences_itself_and_is_refused() -> None:
    async with place("grpc", ttl=1.0) as short, holder_process(short.address) as process:
        _, token = await line(process)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            async with short.client("next").lease() as lease:
                assert lease.fencing_token > int(token)
                assert process.stdin is not None
                process.stdin.write(b"\n")
                os.kill(process.pid, signal.SIGCONT)
                assert await line(process) == ["fenced"]
                assert await line(process) == ["lost"]
                assert lease.valid
        finally:
            os.kill(process.pid, signal.SIGCONT) if process.returncode is None else None


@pytest.mark.conformance("GPU-06")
async def test_a_broken_stream_is_reclaimed_under_the_same_token() -> None:
    async with place("grpc") as there, Cut(there.address) as cut:
        gpu = GpuClient(cut.link, gpu_pb2.LeaseHolder(component="holder"))
        async with gpu.lease() as lease:
            token = lease.fencing_token
            waiter = there.client("waiter")
            waiting = asyncio.create_task(hold(waiter.lease(), asyncio.Event(), asyncio.Event()))
            await waiter.until_place(1)
            for _ in range(3):
                await cut.until_streams(1)
                cut.cut()
            await cut.until_streams(1)
            assert lease.valid
            assert lease.fencing_token == token
            assert not waiting.done()
            waiting.cancel()


class Cut:
    """A way to an arbiter whose connections can be cut in the middle."""

    def __init__(self, address: str | None) -> None:
        assert address is not None
        self._host, self._port = address.rsplit(":", 1)
        self._pairs: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Cut:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.link = connect(f"127.0.0.1:{port}")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.link.close()
        self.cut()
        self._server.close()

    def cut(self) -> None:
        for writer in self._pairs:
            writer.transport.abort()

    async def until_streams(self, count: int) -> None:
        """Waits for so many connections that carry answers."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pairs) == 2 * count)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        await self._set(self._pairs | {writer, far_writer})
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        await self._set(self._pairs - {writer, far_writer})

    async def _set(self, pairs: set[asyncio.StreamWriter]) -> None:
        async with self._changed:
            self._pairs = pairs
            self._changed.notify_all()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()


# Yielding


async def waited(gpu: GpuClient, until: Callable[[], Awaitable[object]]) -> None:
    async with gpu.waiting():
        await until()


async def test_a_wait_of_the_sdk_lets_others_in_and_comes_back_ahead_of_newcomers(here: Place) -> None:
    gpu, guest, newcomer = here.client("holder"), here.client("guest"), here.client("newcomer")
    guest_held, guest_done, newcomer_held, newcomer_done = (asyncio.Event() for _ in range(4))
    async with gpu.lease() as lease:
        token = lease.fencing_token
        tasks = [asyncio.create_task(hold(guest.lease(), guest_done, guest_held))]
        await guest.until_place(1)
        async with gpu.waiting():
            await guest_held.wait()
            assert not lease.valid
            tasks.append(asyncio.create_task(hold(newcomer.lease(), newcomer_done, newcomer_held)))
            await newcomer.until_place(1)
            (device,) = here.arbiter.status()
            assert [held.holder.component for held in device.leases] == ["guest", "holder"]
            asyncio.get_running_loop().call_later(0.05, guest_done.set)
        assert lease.valid
        assert lease.fencing_token > token + 1
        assert lease.device.id == "sim:0"
        assert not newcomer_held.is_set()
        newcomer_done.set()
    await asyncio.gather(*tasks)
    assert newcomer_held.is_set()


async def test_a_lease_is_kept_if_it_is_pinned_or_not_requested_or_another_task_waits(here: Place) -> None:
    gpu, guest = here.client("holder"), here.client("guest")
    done, held = asyncio.Event(), asyncio.Event()
    longer_than_the_bound = 0.1
    async with gpu.lease() as lease:
        token = lease.fencing_token
        async with gpu.waiting():
            await asyncio.sleep(longer_than_the_bound)
        assert lease.valid
        waiting = asyncio.create_task(hold(guest.lease(), done, held))
        await guest.until_place(1)
        with lease.pinned():
            async with gpu.waiting():
                await asyncio.sleep(longer_than_the_bound)
            assert lease.valid
        await asyncio.create_task(waited(gpu, lambda: asyncio.sleep(longer_than_the_bound)))
        assert lease.valid
        assert lease.fencing_token == token
        done.set()
    await waiting


async def test_a_cancelled_wait_to_resume_releases_the_lease(here: Place) -> None:
    gpu, guest = here.client("holder"), here.client("guest")
    done, held = asyncio.Event(), asyncio.Event()

    async def body() -> None:
        async with gpu.lease(), gpu.waiting():
            asked.set()
            await held.wait()

    asked = asyncio.Event()
    task = asyncio.create_task(body())
    await asked.wait()
    guest_task = asyncio.create_task(hold(guest.lease(), done, held))
    await guest.until_place(1)
    await held.wait()
    await gpu.until_place(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not gpu.held
    done.set()
    await guest_task
    (device,) = here.arbiter.status()
    assert not device.leases
    assert not device.waiting


@pytest.mark.parametrize("kind", EVERYWHERE)
async def test_a_gpu_producer_and_a_gpu_consumer_share_one_device(kind: str) -> None:
    """The mechanism behind GPU-07, with a bounded queue in place of the lane."""
    async with place(kind) as one:
        lane: asyncio.Queue[int] = asyncio.Queue(2)
        taken: list[int] = []
        computing = 0

        async def compute() -> None:
            nonlocal computing
            assert not computing
            computing += 1
            await asyncio.sleep(0)
            computing -= 1

        async def produce(gpu: GpuClient) -> None:
            async with gpu.lease() as lease:
                for number in range(10):
                    assert lease.valid
                    await compute()
                    await waited(gpu, lambda number=number: lane.put(number))  # type: ignore[misc]

        async def consume(gpu: GpuClient) -> None:
            async with gpu.lease() as lease:
                while len(taken) < 10:
                    async with gpu.waiting():
                        number = await lane.get()
                    assert lease.valid
                    await compute()
                    taken.append(number)

        await asyncio.gather(produce(one.client("producer")), consume(one.client("consumer")))
        assert taken == list(range(10))


async def test_without_a_lease_the_wait_hook_is_one_shared_object(here: Place) -> None:
    gpu = here.client("idle")
    assert gpu.waiting() is here.client("other").firing().waiting()
    async with gpu.waiting():
        pass


# GPU-08


@pytest.mark.conformance("GPU-08")
async def test_the_event_loop_answers_while_waiters_wait(here: Place) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with here.client("holder").lease():
        clients = [here.client(f"waiter_{number}") for number in range(50)]
        tasks = [asyncio.create_task(hold(gpu.lease(), release, asyncio.Event())) for gpu in clients]
        await asyncio.gather(*(gpu.places.get() for gpu in clients))
        for _ in range(5):  # what else runs on the machine may hold it up as well
            delays = []
            for _ in range(50):
                asked = loop.time()
                answered: asyncio.Future[float] = loop.create_future()
                loop.call_later(0.002, _answer, answered)
                delays.append(await answered - asked - 0.002)
            if sorted(delays)[-5] < 0.05:
                break
        else:
            pytest.fail("the loop was held up again and again")
        release.set()
    await asyncio.gather(*tasks)


# Synchronous bodies, errors, the server


async def test_a_synchronous_body_takes_a_lease_in_its_thread(here: Place) -> None:
    gpu = here.client("sync")

    def body() -> tuple[str, int]:
        with gpu.lease() as lease:
            assert lease.valid
            assert threading.current_thread() is not threading.main_thread()
            return lease.device.id, len(gpu.held)

    assert await asyncio.to_thread(body) == ("sim:0", 1)
    assert not gpu.held
    with pytest.raises(RuntimeError, match="async with"), gpu.lease():
        pytest.fail("not in the loop's thread")


async def test_the_wait_of_a_synchronous_body_can_be_abandoned(here: Place) -> None:
    gpu = here.client("sync")

    def body() -> None:
        with gpu.lease():
            pytest.fail("the device is held")

    async with here.client("holder").lease():
        waiting = asyncio.create_task(asyncio.to_thread(body))
        await gpu.until_place(1)
        gpu.abandon_waits()
        with pytest.raises(LeaseError, match="was cancelled"):
            await waiting


async def test_an_unknown_device_is_refused_with_the_known_ones(here: Place) -> None:
    with pytest.raises(NoSuchDevice, match="no GPU cuda:0 here; there is sim:0"):
        async with here.client("a").lease("cuda:0"):
            pytest.fail("there is none")


@pytest.mark.parametrize("kind", EVERYWHERE)
async def test_without_a_gpu_the_error_explains_how_to_simulate_one(kind: str) -> None:
    async with place(kind, devices=0) as none:
        with pytest.raises(NoSuchDevice, match="no GPU here; set LANEMESH_GPUS"):
            async with none.client("a").lease():
                pytest.fail("there is none")


async def test_a_stopped_arbiter_notifies_holders_and_waiters(here: Place) -> None:
    holder, waiter = here.client("holder"), here.client("waiter")
    held, release = asyncio.Event(), asyncio.Event()
    holding = asyncio.create_task(hold(holder.lease(), release, held))
    await held.wait()
    (lease,) = holder.held
    waiting = asyncio.create_task(hold(waiter.lease(), release, asyncio.Event()))
    await waiter.until_place(1)
    here.arbiter.close()
    with pytest.raises(LeaseLost, match="stopped"):
        await waiting
    await until(lambda: not lease.valid)  # over gRPC each has a stream of its own
    release.set()
    with pytest.raises(LeaseLost, match="stopped"):
        await holding


async def test_status_lists_devices_leases_and_waiters() -> None:
    async with place("grpc", devices=2) as there, there.client("llm_1").lease("sim:1"):
        first, second = await status(there.address)
        assert (first.device.id, len(first.leases)) == ("sim:0", 0)
        assert [lease.holder.component for lease in second.leases] == ["llm_1"]


async def test_an_arbiter_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh.gpu.session.UNREACHABLE_AFTER", 0.2)
    with pytest.raises(ArbiterUnreachable, match=r"127\.0\.0\.1:1 cannot be reached .*`lanemesh gpu serve`"):
        await status("127.0.0.1:1")
    link = connect("127.0.0.1:1")
    with pytest.raises(ArbiterUnreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
        async with GpuClient(link, gpu_pb2.LeaseHolder()).lease():
            pytest.fail("nobody is there")
    await link.close()


@pytest.mark.parametrize(
    "first", [frames.KEEPALIVE, frames.YIELD, frames.RELEASE], ids=["keepalive", "yield", "release"]
)
async def test_a_stream_that_does_not_begin_with_a_request_is_refused(first: gpu_pb2.LeaseRequest) -> None:
    async with place("grpc") as there:
        assert there.address is not None
        async with grpc.aio.insecure_channel(there.address) as channel:
            call = gpu_pb2_grpc.GpuArbiterServiceStub(channel).Lease()
            await call.write(first)
            await call.done_writing()
            with pytest.raises(grpc.aio.AioRpcError, match="begins with acquire or reclaim"):
                await call.read()


async def test_the_arbiter_process_serves_its_devices_and_stops_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lanemesh.gpu",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "LANEMESH_GPUS": "sim:0=24GiB,sim:1=80GiB"},
    )
    try:
        (address,) = await line(process)
        assert [device.device.id for device in await status(address)] == ["sim:0", "sim:1"]
        process.terminate()
        assert await asyncio.wait_for(process.wait(), SOON) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_arbiter_process_exits_with_its_parent() -> None:
    command = (sys.executable, "-m", "lanemesh.gpu", "--exit-with-parent")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        assert await line(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), SOON) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said_by_arbiter(*options: str) -> tuple[int | None, str]:
    """The exit code and the output of an arbiter process that fails at its start."""
    command = (sys.executable, "-m", "lanemesh.gpu", *options)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), SOON)
    return process.returncode, said.decode()


async def test_an_address_open_to_others_is_rejected_unless_insecure_is_set() -> None:
    code, said = await said_by_arbiter("--host", "0.0.0.0")
    assert code == 2
    assert "--insecure" in said
    assert "Traceback" not in said


async def test_a_port_in_use_is_named() -> None:
    async with place("grpc") as there:
        assert there.address is not None
        code, said = await said_by_arbiter("--port", there.address.rpartition(":")[2])
        assert code == 2
        assert f"cannot listen on {there.address}" in said
        assert "Traceback" not in said


def _answer(future: asyncio.Future[float]) -> None:
    future.set_result(asyncio.get_running_loop().time())


@pytest.mark.conformance("GPU-02")
@pytest.mark.parametrize("where", EVERYWHERE)
async def test_leases_of_memory_share_a_device_while_they_fit(where: str) -> None:
    async with place(where) as arbiter:
        a, b, c = (arbiter.client(name) for name in "abc")
        async with a.lease(memory="300MiB", peak="512MiB") as first, b.lease(memory="512MiB") as second:
            assert first.device.id == second.device.id == "sim:0"
            waiting = asyncio.create_task(entered(c.lease(memory=1)))
            assert await asyncio.wait_for(c.places.get(), SOON) == 1
        assert (await asyncio.wait_for(waiting, SOON)).id == "sim:0"


@pytest.mark.conformance("GPU-12")
@pytest.mark.parametrize("where", EVERYWHERE)
async def test_several_devices_are_leased_together(where: str) -> None:
    async with place(where, devices=2) as arbiter:
        async with arbiter.client("one").lease("sim:0"):
            both = arbiter.client("both")
            waiting = asyncio.create_task(entered(both.lease(count=2)))
            assert await asyncio.wait_for(both.places.get(), SOON) == 1
            async with arbiter.client("other").lease("sim:1"):
                pass  # one of two devices is not held for it
        await asyncio.wait_for(waiting, SOON)


async def test_a_size_that_is_none_is_refused() -> None:
    client = GpuClient(EmbeddedLink(GpuArbiter([])), gpu_pb2.LeaseHolder())
    with pytest.raises(ValueError, match="6GiB"):
        client.lease(memory="much")
    with pytest.raises(ValueError, match="negative"):
        client.lease(memory=-1)


@pytest.mark.conformance("GPU-06")
async def test_a_release_whose_stream_is_lost_is_sent_again() -> None:
    async with place("grpc") as there, Cut(there.address) as cut:
        gpu = GpuClient(cut.link, gpu_pb2.LeaseHolder(component="holder"))
        async with gpu.lease():
            await cut.until_streams(1)
            cut.cut()
            await cut.until_streams(0)
        await asyncio.wait_for(entered(there.client("next").lease()), SOON)
