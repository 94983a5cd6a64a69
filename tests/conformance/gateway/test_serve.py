"""A gateway beside an orchestrator, as `lanemesh serve --http` has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from lanemesh import Client, LanemeshError, Mesh
from lanemesh_orchestrator.cli.commands import gateway as commands
from lanemesh_orchestrator.gateway import open_streams, run_events
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.gateway.server import gateway_server
from lanemesh_orchestrator.gateway.sse import event
from lanemesh_orchestrator.orchestrator_process import serve

from endings import end
from rigs.commands import Command
from rigs.gateways import all_events, client_of, events, texts
from rigs.model_gateway import NODES as MODEL_NODES
from rigs.model_gateway import answering
from rigs.ports import free_port
from rigs.runs import pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

ECHO = pipeline({"id": "chat", "provider": "chat"}, response("chat"))


async def test_streams_get_the_end_of_their_runs_when_the_orchestrator_stops() -> None:
    urls: asyncio.Queue[str] = asyncio.Queue()

    @asynccontextmanager
    async def beside(mesh: str) -> AsyncIterator[None]:
        async with Client(mesh) as client, gateway_server(client, "127.0.0.1", 0) as server:
            urls.put_nowait(server.url)
            yield

    stop = asyncio.Event()
    serving = asyncio.create_task(serve(port=0, beside=beside, stop=stop))
    async with client_of(await urls.get()) as web:
        path = (await web.post("/v1/runs", json={"pipeline": ECHO, "open_input": True})).headers["location"]
        async with web.stream("GET", f"{path}/events") as answer:
            found = events(answer)
            await anext(found)
            stop.set()
            last = [event async for event in found][-1]
    await end("the orchestrator", _ended(serving))

    assert (last.data["state"], last.data["reason"]) == ("cancelled", "the orchestrator stops")


async def test_a_stream_gets_the_end_of_its_run_that_comes_while_the_gateway_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping = asyncio.Event()

    async def chunks(_: object) -> AsyncGenerator[bytes, None]:
        yield event("first")
        await stopping.wait()
        yield event("last")

    monkeypatch.setattr(run_events, "run_chunks", chunks)
    async with Mesh() as mesh, gateway_server(mesh, "127.0.0.1", 0) as server, client_of(server.url) as web:
        path = (await web.post("/v1/runs", json={"pipeline": ECHO, "open_input": True})).headers["location"]
        async with web.stream("GET", f"{path}/events") as answer:
            found = events(answer)
            assert (await anext(found)).data == "first"
            server.close()
            stopping.set()
            assert [one.data async for one in found] == ["last"]


async def test_a_stream_that_begins_while_the_gateway_stops_is_sent_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "LAST_SECONDS", 0.1)
    asked = {"model": "held", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    async with Mesh(nodes=MODEL_NODES) as mesh:
        await mesh.deploy("held", answering("held_answer"))
        async with (
            gateway_server(mesh, "127.0.0.1", 0) as server,
            client_of(server.url) as web,
            mesh.channels().subscribe("mesh:asked") as questions,
        ):
            asking = asyncio.create_task(web.post("/v1/chat/completions", json=asked))
            assert await anext(aiter(questions)) == "Hello"
            server.close()
            await mesh.channels().publish("mesh:go", "now")
            answer = await asking  # raises if the body has no end

    assert '"content":"word"' in answer.text


async def _ended(serving: asyncio.Task[int]) -> None:
    assert await serving == 0


async def test_the_commands_serve_until_a_signal() -> None:
    async with command("serve", "--port", "0", "--http", "0", "--store", "none") as orchestrator:
        url, mesh = await last_word(orchestrator, "web gateway"), await last_word(orchestrator, "reached at")
        async with command("gateway", "--mesh", mesh, "--http", "0") as gateway:
            other = await last_word(gateway, "http://")
            async with client_of(url) as one, client_of(other) as two:
                path = (await one.post("/v1/runs", json={"pipeline": ECHO, "input": "x"})).headers["location"]
                assert texts(await all_events(two, f"{path}/events")) == ["x"]


async def test_a_gateway_warns_of_a_mesh_that_it_does_not_reach_and_goes_on_trying() -> None:
    port = free_port()
    async with command("gateway", "--mesh", f"127.0.0.1:{port}", "--http", "0") as gateway:
        url = await last_word(gateway, "listens at")
        assert await last_word(gateway, f"127.0.0.1:{port} cannot be reached") == "meanwhile"
        async with client_of(url) as web:
            assert (await web.get("/healthz")).status_code == 503
            async with command("serve", "--port", f"{port}", "--store", "none"):
                await last_word(gateway, "the mesh is reached now")
                assert (await web.get("/healthz")).status_code == 200


async def last_word(process: Command, text: str) -> str:
    """The last word of the line of standard error that has a text."""

    def read() -> str:
        assert process.stderr is not None
        return next(line for line in process.stderr if text in line)

    return (await asyncio.to_thread(read)).split()[-1]


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[Command]:
    """A command that SIGTERM ends with the exit code 0."""
    process = Command(*arguments)
    try:
        yield process
    finally:
        process.terminate()
        code = await asyncio.to_thread(process.wait)
        process.communicate()
    assert code == 0


async def test_options_of_the_gateway_need_a_gateway() -> None:
    process = Command("serve", "--token-file", "x")
    _, said = await asyncio.to_thread(process.communicate)
    assert (process.returncode, "--http" in said) == (2, True)


async def test_files_that_would_be_deployed_under_one_name_are_reported() -> None:
    process = Command("up", "a/my talk.pipe", "b/my-talk.pipe", "--http", "0")
    _, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 2
    assert "a/my talk.pipe and b/my-talk.pipe would both be deployed as @my-talk" in errors


async def test_a_port_in_use_is_reported() -> None:
    async with gateway_server_at() as (url, client):
        with pytest.raises(LanemeshError, match="Choose another address or port"):
            gateway_server(client, "127.0.0.1", httpx.URL(url).port or 0)


@asynccontextmanager
async def gateway_server_at() -> AsyncIterator[tuple[str, Client]]:
    """A gateway to an orchestrator that does not answer."""
    async with Client("127.0.0.1:1") as client, gateway_server(client, "127.0.0.1", 0, GatewayOptions()) as server:
        yield server.url, client


async def test_a_gateway_without_its_mesh_is_not_healthy() -> None:
    async with gateway_server_at() as (url, _), client_of(url) as web:
        for path in ("/healthz", "/v1/runs", "/v1/runs/x/events"):
            answer = await web.get(path)
            assert (answer.status_code, answer.json()["title"], answer.headers["retry-after"]) == (
                503,
                "unreachable",
                "1",
            )


async def test_the_port_of_a_gateway_is_not_that_of_an_orchestrator() -> None:
    async with gateway_server_at() as (url, _), Client(httpx.URL(url).netloc.decode()) as client:
        with pytest.raises(LanemeshError, match="is an HTTP server, not an orchestrator") as raised:
            await client.runs()
    assert raised.value.fault.reason == "unreachable"


async def test_a_missing_library_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("lanemesh_orchestrator.gateway")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.responses", None)
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(LanemeshError, match=r"pip install 'lanemesh\[web\]'"):
            commands.web_server(client, commands.WebOptions(port=0))
