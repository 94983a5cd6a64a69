"""Streams that outlive what they go through: a gateway that is killed, and an orchestrator that restarts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import httpx
import psutil
import pytest
from lanemesh import Client
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.store.options import StoreOptions

from endings import end
from rigs.forked import ForkedProcess, forked
from rigs.gateways import Event, all_events, client_of, events, gateway, texts
from rigs.ports import free_port
from rigs.runs import NODES, line, node

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAMS = 50
VALUES = 20
TAG = line(node("a", "tag", "chat", mark="+"))


@asynccontextmanager
async def gateway_process(mesh: str) -> AsyncIterator[tuple[ForkedProcess, str]]:
    """`lanemesh gateway` of an orchestrator, and its URL."""
    process = await forked("gateway", "--mesh", mesh, "--http", "0", stderr=PIPE)
    try:
        assert process.stderr is not None
        said = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        assert "http://" in said, said
        yield process, said.split()[-1]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)


async def follow(urls: list[str], path: str, watching: asyncio.Semaphore) -> list[Event]:
    """Every event of a run, as a client that goes on at the next gateway when its stream breaks. It releases
    `watching` at its first event."""
    found: list[Event] = []
    attempts = 0
    while not found or not ended(found):
        headers = {"last-event-id": found[-1].id} if found else {}
        try:
            async with (
                client_of(urls[attempts % len(urls)]) as client,
                client.stream("GET", f"{path}/events", headers=headers) as answer,
            ):
                async for event in events(answer):
                    watching.release() if not found else None
                    found.append(event)
        except (httpx.TransportError, ConnectionError):
            attempts += 1
    return found


async def test_clients_of_a_killed_gateway_go_on_at_another_without_loss(serving: Orchestrator) -> None:
    async with (
        gateway_process(serving.address) as (first, url),
        gateway_process(serving.address) as (_, other),
        client_of(other) as web,
    ):
        started = await web.post("/v1/runs", json={"pipeline": TAG, "open_input": True, "inputs": ["0", "1"]})
        path = started.headers["location"]
        watching = asyncio.Semaphore(0)
        followers = [asyncio.create_task(follow([url, other], path, watching)) for _ in range(STREAMS)]
        for _ in followers:
            await watching.acquire()
        first.send_signal(signal.SIGKILL)
        await first.wait()
        for number in range(2, VALUES):
            await web.post(f"{path}/input", json={"value": str(number), "end": number == VALUES - 1})
        found = await asyncio.gather(*followers)

    for one in found:
        assert [int(event.id) for event in one] == list(range(1, len(one) + 1))
        assert texts(one) == [f"+{number}" for number in range(VALUES)]


async def test_a_stream_reports_the_end_of_its_orchestrator_and_resumes_after_its_restart(tmp_path: Path) -> None:
    options = StoreOptions(location=str(tmp_path / "runs.db"))
    orchestrator = Orchestrator(embedded=True, nodes=[NODES], store=options)
    port = free_port()
    await orchestrator.listen(port=port)
    async with Client(orchestrator.address) as client, gateway(client) as web:
        done = (await web.post("/v1/runs", json={"pipeline": TAG, "input": "x"})).headers["location"]
        before = await all_events(web, f"{done}/events")
        open_run = (await web.post("/v1/runs", json={"pipeline": TAG, "open_input": True})).headers["location"]
        async with web.stream("GET", f"{open_run}/events") as answer:
            found = events(answer)
            seen = [await anext(found)]
            await end("the first orchestrator", orchestrator.close())
            seen += [event async for event in found]
        assert seen[-1].name in ("message", "error")
        if seen[-1].name == "error":
            seen.pop()
        down = await web.get("/healthz")
        assert (down.status_code, down.headers["retry-after"]) == (503, "1")

        again = Orchestrator(embedded=True, nodes=[NODES], store=options)
        await again.listen(port=port)

        async def healthy() -> bool:
            return (await web.get("/healthz")).status_code == 200

        async with asyncio.timeout(30):
            while not await healthy():  # noqa: ASYNC110 - nothing reports it
                await asyncio.sleep(0.05)
        assert await all_events(web, f"{done}/events") == before
        seen += (
            await all_events(web, f"{open_run}/events", headers={"last-event-id": seen[-1].id})
            if not ended(seen)
            else []
        )
        assert [int(event.id) for event in seen] == list(range(1, len(seen) + 1))
        assert seen[-1].data["state"] in ("cancelled", "failed")
        await end("the second orchestrator", again.close())


def ended(seen: list[Event]) -> bool:
    """Whether the last event is that of the end of the run."""
    last = seen[-1].data
    return last["update"] == "job" and last["state"] in ("cancelled", "failed", "completed")


async def test_two_gateways_of_a_mesh_answer_alike(serving: Orchestrator) -> None:
    async with (
        Client(serving.address) as one,
        Client(serving.address) as two,
        gateway(one) as left,
        gateway(two) as right,
    ):
        path = (await left.post("/v1/runs", json={"pipeline": TAG, "open_input": True})).headers["location"]
        await right.post(f"{path}/input", json={"value": "x"})
        await left.post(f"{path}/input", json={"value": "y", "end": True})
        assert texts(await all_events(right, f"{path}/events")) == ["+x", "+y"]
        assert await all_events(left, f"{path}/events") == await all_events(right, f"{path}/events")
        await left.put("/v1/deployments/both", json={"pipeline": TAG})
        assert (await right.get("/v1/deployments/both")).json()["version"] == 1
        await right.delete("/v1/deployments/both")
        assert (await left.get("/v1/deployments/both")).status_code == 404


@pytest.mark.timing
async def test_a_thousand_idle_streams_take_little_memory(serving: Orchestrator) -> None:
    async with gateway_process(serving.address) as (process, url), client_of(url) as web:
        path = (await web.post("/v1/runs", json={"pipeline": TAG, "open_input": True})).headers["location"]
        address = httpx.URL(url)
        request = f"GET {path}/events HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 203.0.113.{{}}\r\n\r\n"
        gateway_memory = psutil.Process(process.pid).memory_info

        async def stream(number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=4_096)
            writer.write(request.format(number % 200).encode())
            await reader.readuntil(b'"state":"running"')
            return reader, writer

        streams = [await stream(number) for number in range(100)]
        before = gateway_memory().rss
        streams += [await stream(number) for number in range(1_000)]
        growth = gateway_memory().rss - before
        await web.post(f"{path}/cancel", json={})
        for reader, writer in streams:
            await reader.readuntil(b'"state":"cancelled"')
            writer.close()

    assert growth <= 60 * 1024 * 1024, f"{growth / 1024 / 1024:.1f} MiB"
