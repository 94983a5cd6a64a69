"""Requests of a mesh in this process and of a client: what they return, how they end, and bad inputs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
from lanemesh import Client, Code, Fault, LanemeshError, PipelineInvalid, Request, RunFailed, SyncClient, TraceUpdate
from lanemesh._aio.loop_thread import LoopThread
from lanemesh.client.requests import RequestLimit
from lanemesh.client.run_host import RunHost
from lanemesh.faults import ValueRefused
from lanemesh_orchestrator import Mesh, SyncMesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.active_run import ActiveRun
from pydantic import BaseModel

import garbage
from rigs.runs import NODES, line, node, pipeline

ECHO = line(node("a", "tag", "chat", mark=">"))
HANGS = line(node("a", "hang", "chat"))
"""It answers "begun", and never ends."""
DISCONNECTED = ("cancelled", "its caller disconnected")

KILLED = """
import asyncio, sys
from lanemesh import Client

async def main():
    async with Client(sys.argv[1]) as client:
        request = client.request("@hangs", "x")
        async for value in request:
            print(request.id, flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Orchestrator, Client]]:
    """An orchestrator that runs nodes itself, and a client of it."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        yield orchestrator, client
    await orchestrator.close()


@pytest.fixture(params=["mesh", "client"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[RunHost]:
    """Both kinds of hosts."""
    if request.param == "mesh":
        async with Mesh(nodes=[NODES]) as mesh:
            yield mesh
        return
    async with serving() as (_, client):
        yield client


async def end_of(host: RunHost, run_id: str) -> tuple[str, str]:
    """The state and the reason at the end of a run."""
    result = await host.attach(run_id).result()
    return str(result.state), result.reason


class Point(BaseModel):
    x: int


@pytest.mark.conformance("REQ-01")
async def test_it_is_read_in_every_way(host: RunHost) -> None:
    await host.deploy("echo", ECHO)
    assert await host.request("@echo", "text", timeout=30).text() == ">text"
    assert await host.request("@echo:1", "text").values() == [">text"]
    assert [output.component for output in await host.request(ECHO, "text").outputs("out")] == ["out"]
    assert (await host.request("@echo", '{"x": 1}', settings={"a.mark": ""}).json(Point)).x == 1
    result = await host.request("@echo", "text")
    assert (result.state, result.text) == ("completed", ">text")
    assert (await host.record(result.run_id)).deployment == "echo"
    named = line(node("a", "tag", "chat", mark="${MARK}"))
    assert await host.request(named, "text", variables={"MARK": "-"}).text() == "-text"
    assert [value async for value in host.request("@echo", "text")] == [">text"]
    for traced in ("@echo", "@echo:1", ECHO):
        async with host.request(traced, "text", trace="metadata") as request:
            assert any(isinstance(update, TraceUpdate) for update in await request.updates())


async def test_an_empty_input_and_none_are_not_the_same(host: RunHost) -> None:
    assert await host.request(ECHO, "").values() == [">"]
    assert await host.request(ECHO).values() == []


async def test_bad_inputs_are_refused_with_the_cause(host: RunHost) -> None:
    with pytest.raises(ValueRefused, match=r"20,000,\d+ bytes; the limit is"):
        host.request(ECHO, "x" * 20_000_000)
    with pytest.raises(LanemeshError, match='no deployed pipeline "nothing"') as caught:
        await host.request("@nothing", "x")
    assert caught.value.fault.code is Code.NOT_FOUND
    with pytest.raises(LanemeshError, match="write a deployed pipeline as @NAME"):
        host.request("@", "x")
    with pytest.raises(PipelineInvalid, match="unknown-provider"):
        await host.request(pipeline(node("a", "chta")), "x").text()
    with pytest.raises(RunFailed, match="a bad word") as failed:
        await host.request(line(node("a", "fail", "chat")), "bad")
    assert failed.value.fault.details["component"] == "a"


@pytest.mark.conformance("REQ-04")
async def test_a_timeout_is_that_of_a_run(host: RunHost) -> None:
    faults = []
    for waiting in (host.request(HANGS, "x", timeout=0.2).all(), host.run(HANGS, input="x", timeout=0.2).text().all()):
        with pytest.raises(RunFailed, match=r"took longer than its timeout of 0\.2 s") as caught:
            await waiting
        faults.append((type(caught.value), caught.value.fault.code, caught.value.fault.reason))
    assert faults == [(RunFailed, Code.DEADLINE_EXCEEDED, "timeout")] * 2


@pytest.mark.conformance("REQ-04")
async def test_a_timeout_ends_the_wait_for_an_orchestrator_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Client(f"127.0.0.1:{silent.getsockname()[1]}") as client:
            with pytest.raises(RunFailed, match=r"timeout of 0\.3 s: its run was not started by then"):
                await client.request(ECHO, "x", timeout=0.3)


async def broken_off(request: Request) -> None:
    async for _ in request:
        break


async def left_the_block(request: Request) -> None:
    async with request:
        async for _ in request:
            break


async def closed_its_view(request: Request) -> None:
    async with aclosing(request.text()) as text:
        await anext(text)


async def cancelled(request: Request) -> None:
    async def read() -> None:
        async for _ in request:
            begun.set()

    begun = asyncio.Event()
    reading = asyncio.ensure_future(read())
    await begun.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def timed_out(request: Request) -> None:
    await request.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await request


async def dropped(request: Request) -> None:
    await request.start()


LEAVING = [broken_off, left_the_block, closed_its_view, cancelled, timed_out, dropped]


@pytest.mark.conformance("REQ-01")
@pytest.mark.conformance("RUN-07")
@pytest.mark.parametrize("leave", LEAVING, ids=lambda leave: leave.__name__)
async def test_leaving_it_cancels_its_run(host: RunHost, leave: Callable[[Request], object]) -> None:
    request = host.request(HANGS, "x")
    await leave(request)  # type: ignore[misc]
    run_id = request.id
    del request
    garbage.collect()
    assert await end_of(host, run_id) == DISCONNECTED


@pytest.mark.conformance("REQ-02")
async def test_a_request_that_is_left_while_it_starts_ends(host: RunHost) -> None:
    for turns in range(12):
        waiting = asyncio.ensure_future(host.request(HANGS, "x").text().all())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    for record in await host.runs():
        assert (await end_of(host, record.run_id))[0] == "cancelled"


@pytest.mark.conformance("REQ-02")
@pytest.mark.parametrize("make", ["run", "request"])
async def test_one_that_is_closed_while_it_starts_ends(host: RunHost, make: str) -> None:
    for turns in range(12):
        made = host.run(HANGS, input="x") if make == "run" else host.request(HANGS, "x")
        reading = asyncio.ensure_future(made.text().all())
        for _ in range(turns):
            await asyncio.sleep(0)
        await made.close()
        await asyncio.gather(reading, return_exceptions=True)
    for record in await host.runs():
        assert (await end_of(host, record.run_id))[0] == "cancelled"


@pytest.mark.conformance("REQ-01")
async def test_one_that_is_never_read_starts_nothing(host: RunHost) -> None:
    host.request(ECHO, "x")
    host.request(ECHO, "x").text()
    garbage.collect()
    assert await host.request(ECHO, "x").text() == ">x"
    assert len(await host.runs()) == 1


async def test_a_closed_mesh_or_client_is_reported_as_such() -> None:
    async with serving() as (orchestrator, client), Mesh() as mesh:
        await client.close()
        await mesh.close()
        for closed in (client, mesh):
            with pytest.raises(LanemeshError, match="is closed: create another one") as caught:
                await closed.request(ECHO, "x")
            assert caught.value.fault.reason == "closed"
        with pytest.raises(LanemeshError, match="is closed"):
            await client.channels().publish("mesh:x", 1)
        assert len(orchestrator.runs._tasks) == 0


@pytest.mark.conformance("REQ-02")
async def test_many_at_once_are_bounded_and_all_answer() -> None:
    async with serving() as (orchestrator, client):
        client._requests = RequestLimit(10)
        active: list[int] = []
        start = orchestrator.runs.start

        def counted(*args: object) -> ActiveRun:
            active.append(len(orchestrator.runs._tasks))
            return start(*args)  # type: ignore[arg-type]

        orchestrator.runs.start = counted  # type: ignore[assignment,method-assign]
        texts = await asyncio.gather(*(client.request(ECHO, str(number)).text().all() for number in range(100)))
    assert texts == [f">{number}" for number in range(100)]
    assert max(active) < 10


@pytest.mark.conformance("REQ-03")
async def test_a_rejection_says_when_to_try_again() -> None:
    async with serving() as (orchestrator, client):
        start = orchestrator.runs.start
        rejections = 0

        def refusing(*args: object) -> ActiveRun:
            nonlocal rejections
            if rejections < 2:
                rejections += 1
                fault = Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message="full", retry_after=0.01)
                raise LanemeshError(fault)
            return start(*args)  # type: ignore[arg-type]

        orchestrator.runs.start = refusing  # type: ignore[assignment,method-assign]
        with pytest.raises(LanemeshError, match="full") as caught:
            await client.request(ECHO, "x")
        assert (caught.value.fault.code, caught.value.retry_after) == (Code.RESOURCE_EXHAUSTED, 0.01)
        rejections = 0
        assert await client.request(ECHO, "x", retries=2).text() == ">x"


@pytest.mark.conformance("REQ-05")
@pytest.mark.conformance("RUN-07")
async def test_the_run_of_a_killed_client_is_cancelled() -> None:
    async with serving() as (_, client):
        await client.deploy("hangs", HANGS)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, client.address, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        run_id = (await process.stdout.readline()).decode().strip()
        assert (await client.record(run_id)).state == "running"
        process.kill()
        await process.wait()
        assert await end_of(client, run_id) == DISCONNECTED


@pytest.mark.conformance("REQ-01")
def test_without_await_it_is_read_in_every_way() -> None:
    loop = LoopThread("orchestrator")
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    loop.call(orchestrator.listen())
    with SyncMesh(nodes=[NODES]) as mesh, SyncClient(orchestrator.address) as client:
        for host in (mesh, client):
            host.deploy("echo", ECHO)
            assert host.request("@echo", "text", timeout=30).all().text == ">text"
            assert list(host.request("@echo", "text")) == [">text"]
            assert host.request("@echo", "text").text().all() == ">text"
            request = host.request(HANGS, "x")
            for value in request:
                assert value == "begun"
                break
            result = host.attach(request.id).result()
            assert (result.state, result.reason) == DISCONNECTED
            with host.request(HANGS, "x") as request:
                assert next(iter(request)) == "begun"
            assert host.attach(request.id).result().state == "cancelled"
            with pytest.raises(RunFailed, match=r"timeout of 0\.1 s"):
                host.request(HANGS, "x", timeout=0.1).all()
    with pytest.raises(LanemeshError, match="closed"):
        client.request(ECHO, "x")
    loop.call(orchestrator.close())
    loop.stop()


async def test_a_run_ends_although_its_close_is_cancelled(host: RunHost) -> None:
    run = await host.run(HANGS, input="x").start()
    closing = asyncio.create_task(run.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    result = await host.attach(run.id).result()
    assert (result.state, result.reason) == DISCONNECTED
