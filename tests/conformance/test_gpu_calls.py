"""Calls of `Lease` carry leases one after the other, and a grant that comes in time is valid at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from lanemesh.gpu import EmbeddedLink, GpuArbiter, GpuClient, frames, lease_call, served_call
from lanemesh.gpu.arbiter import ArbiterStream, OnFrame
from lanemesh.gpu.grpc_link import GrpcLink
from lanemesh.gpu.server import ArbiterServer
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

from rigs.gpu import SOON, entered, place

ACQUIRE = gpu_pb2.LeaseRequest(acquire=gpu_pb2.LeaseAcquire())


@asynccontextmanager
async def call_of(address: str | None) -> AsyncIterator[grpc.aio.StreamStreamCall]:  # type: ignore[type-arg]
    """A call of `Lease`."""
    assert address is not None
    async with grpc.aio.insecure_channel(address) as channel:
        yield gpu_pb2_grpc.GpuArbiterServiceStub(channel).Lease()


async def answer(call: grpc.aio.StreamStreamCall, *requests: gpu_pb2.LeaseRequest) -> str | None:  # type: ignore[type-arg]
    """Sends frames. Returns the kind of the next answer."""
    for request in requests:
        await call.write(request)
    frame = await call.read()
    return frame.WhichOneof("frame") if isinstance(frame, gpu_pb2.LeaseResponse) else None


async def test_a_call_carries_leases_one_after_the_other() -> None:
    async with place("grpc") as there, call_of(there.address) as call:
        for _ in range(3):
            assert await answer(call, ACQUIRE) == "granted"
            assert await answer(call, frames.RELEASE, frames.RELEASE, frames.KEEPALIVE) == "revoked"
        assert await answer(call, gpu_pb2.LeaseRequest(reclaim=gpu_pb2.LeaseReclaim(lease_id="?"))) == "revoked"
        assert await answer(call, ACQUIRE) == "granted"
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def test_a_call_has_one_lease_at_a_time() -> None:
    async with place("grpc") as there, call_of(there.address) as call:
        assert await answer(call, ACQUIRE) == "granted"
        await call.write(ACQUIRE)
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError, match="this acquire is a second one"):
            await call.read()


async def test_a_call_that_requests_no_further_lease_ends() -> None:
    arbiter = GpuArbiter([gpu_pb2.Device(id="sim:0", memory_bytes=1)])
    server = ArbiterServer(arbiter)
    server._servicer._first_frame_seconds = 0.05
    await server.start()
    try:
        async with call_of(server.address) as call:
            assert await answer(call, ACQUIRE) == "granted"
            assert await answer(call, frames.RELEASE) == "revoked"
            with pytest.raises(grpc.aio.AioRpcError, match=r"no request arrived within 0\.05 s"):
                await call.read()
    finally:
        await server.stop()


async def test_a_call_takes_no_requests_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_call, "REUSE_SECONDS", 0.0)
    async with place("grpc") as there, call_of(there.address) as call:
        assert await answer(call, ACQUIRE) == "granted"
        assert await answer(call, frames.RELEASE) == "revoked"
        await call.write(ACQUIRE)
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError, match="begin another one"):
            await call.read()


async def test_an_arbiter_that_stops_ends_the_calls_without_a_lease() -> None:
    server = ArbiterServer(GpuArbiter([gpu_pb2.Device(id="sim:0", memory_bytes=1)]))
    await server.start()
    async with call_of(server.address) as call:
        assert await answer(call, ACQUIRE) == "granted"
        assert await answer(call, frames.RELEASE) == "revoked"
        stopping = asyncio.create_task(server.stop())
        assert await answer(call) == "revoked"
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await stopping


async def test_leases_of_a_client_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[lease_call.LeaseCall] = []
    begin = lease_call.LeaseCall.__init__

    def count(call: lease_call.LeaseCall, *arguments: Callable[..., object]) -> None:
        opened.append(call)
        begin(call, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lease_call.LeaseCall, "__init__", count)
    async with place("grpc", devices=2) as there:
        gpu = there.client("one")
        for _ in range(5):
            await entered(gpu.lease())
        assert len(opened) == 1
        async with gpu.lease("sim:0"), gpu.lease("sim:1"):
            assert len(opened) == 2
        await entered(gpu.lease())
        assert len(opened) == 2
        monkeypatch.setattr(lease_call, "REUSE_SECONDS", 0.0)
        for call in opened:
            call._reusable_until = 0.0
        await entered(gpu.lease())
        await entered(gpu.lease())
        await entered(gpu.lease())
        assert len(opened) == 3, "calls that are too old carry no further lease"


async def test_a_call_without_a_lease_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_call, "IDLE_SECONDS", 0.01)
    async with place("grpc") as there:
        link = GrpcLink(there.address or "")
        await entered(GpuClient(link, gpu_pb2.LeaseHolder()).lease())
        while calls := list(link._calls):
            await asyncio.wait(calls)
        assert not link._idle
        await link.close()


async def test_a_lease_after_a_restart_of_the_arbiter_takes_a_new_call() -> None:
    device = gpu_pb2.Device(id="sim:0", memory_bytes=1)
    server = ArbiterServer(GpuArbiter([device]))
    await server.start()
    link = GrpcLink(server.address)
    gpu = GpuClient(link, gpu_pb2.LeaseHolder())
    await entered(gpu.lease())
    await server.stop()
    while calls := list(link._calls):
        await asyncio.wait(calls)
    server = ArbiterServer(GpuArbiter([device]), port=int(server.address.rpartition(":")[2]))
    await server.start()
    await asyncio.wait_for(entered(gpu.lease()), SOON)
    await link.close()
    await server.stop()


class SlowLink(EmbeddedLink):
    """The way to an arbiter whose grants are under way until they are let through."""

    def __init__(self, arbiter: GpuArbiter) -> None:
        super().__init__(arbiter)
        self.arbiter = arbiter
        self.sent: list[str | None] = []
        self.under_way: list[Callable[[], None]] = []
        self.arrived = asyncio.Event()

    def open(self, on_frame: OnFrame) -> SlowStream:
        def deliver(frame: gpu_pb2.LeaseResponse | None) -> None:
            self.under_way.append(lambda: on_frame(frame))
            self.arrived.set()

        return SlowStream(self, self.arbiter.open(deliver))

    async def pass_on(self) -> None:
        """Lets all frames through, of which there is one at least."""
        await self.arrived.wait()
        self.arrived.clear()
        frames, self.under_way = self.under_way, []
        for deliver in frames:
            deliver()


class SlowStream:
    """The stream of one lease."""

    local = False
    lost_because = ""

    def __init__(self, link: SlowLink, stream: ArbiterStream) -> None:
        self._link = link
        self._stream = stream

    def send(self, frame: gpu_pb2.LeaseRequest) -> None:
        self._link.sent.append(frame.WhichOneof("frame"))
        self._stream.send(frame)

    def close(self) -> None:
        self._stream.lose()


@pytest.mark.conformance("GPU-06")
@pytest.mark.parametrize(("seconds", "frames_sent"), [(0.0, ["acquire"]), (15.0, ["acquire", "keepalive"])])
async def test_a_grant_that_comes_in_time_is_valid_at_once_and_another_one_after_a_keepalive(
    seconds: float, frames_sent: list[str]
) -> None:
    link = SlowLink(GpuArbiter([gpu_pb2.Device(id="sim:0", memory_bytes=1)], ttl=30.0))
    lease = GpuClient(link, gpu_pb2.LeaseHolder()).lease()
    entering = asyncio.create_task(lease.__aenter__())
    await link.arrived.wait()
    assert lease._session is not None
    lease._session._requested_at -= seconds  # the grant was under way for so long
    await link.pass_on()
    assert lease.valid == (seconds == 0)
    assert link.sent == frames_sent
    if not lease.valid:
        await link.pass_on()
    await asyncio.wait_for(entering, SOON)
    assert lease.valid
    leaving = asyncio.create_task(lease.__aexit__(None, None, None))
    await link.pass_on()
    await asyncio.wait_for(leaving, SOON)
    link.arbiter.close()
