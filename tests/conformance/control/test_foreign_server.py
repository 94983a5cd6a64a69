"""An agent whose tools are a server in another language, which knows only the protos."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client
from lanemesh.client.run_host import RunHost
from lanemesh.client.updates import ToolProgressUpdate, ToolResultUpdate
from lanemesh.server.services import all_services
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import serving

PROGRAM = Path(__file__).parents[2] / "rigs" / "tool_server.mjs"


@dataclass
class Server:
    """The server."""

    address: str
    process: asyncio.subprocess.Process

    async def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(10):
            return (await self.process.stdout.readline()).decode().strip()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """The server, in a process of Node."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("node", str(PROGRAM), stdin=pipe, stdout=pipe)
    started = Server("", process)
    started.address = f"127.0.0.1:{await started.line()}"
    yield started
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


@pytest.fixture(params=["one process", "servers"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[RunHost]:
    """What runs pipelines."""
    if request.param == "one process":
        async with Mesh() as local:
            yield local
        return
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    try:
        async with (
            serving(orchestrator, "agents", services=all_services(["agent"])),
            serving(orchestrator, "models", services=all_services(["llm"])),
            serving(orchestrator, "tools", services=all_services(["tools"])),
            Client(orchestrator.address) as client,
        ):
            yield client
    finally:
        await orchestrator.close()


def agent(address: str, name: str, **arguments: Any) -> dict[str, Any]:
    """An agent that makes one call and answers."""
    script = [{"tool_calls": [{"name": name, "arguments": arguments}]}, "Done."]
    control = [{"classType": "llm", "from": "agent"}]
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "agent", "provider": "agent_wave", "input": [{"lane": "questions", "from": "chat"}]},
            {"id": "out", "provider": "response_answers", "input": [{"lane": "answers", "from": "agent"}]},
            {"id": "llm", "provider": "llm_scripted", "config": {"script": script, "delay": 0}, "control": control},
            {
                "id": "tools",
                "provider": "tool_grpc",
                "config": {"address": address},
                "control": [{"classType": "tool", "from": "agent"}],
            },
        ]
    }


@pytest.mark.conformance("CTRL-07")
async def test_a_server_in_another_language_serves_an_agent(server: Server, mesh: RunHost) -> None:
    async with mesh.run(agent(server.address, "reverse", word="lanemesh"), input="go") as run:
        updates = [update async for update in run.updates()]
        run.raise_unless_completed()

    (result,) = [update for update in updates if isinstance(update, ToolResultUpdate)]
    assert (result.content, result.is_error) == ('"hsemenal"', False)
    progress = [update.message for update in updates if isinstance(update, ToolProgressUpdate)]
    assert progress == ['working on {"word": "lanemesh"}']


@pytest.mark.conformance("CTRL-07")
async def test_error_its_failed_result_reaches_the_agent(server: Server, mesh: RunHost) -> None:
    async with mesh.run(agent(server.address, "reverse", word=""), input="go") as run:
        updates = [update async for update in run.updates()]
        run.raise_unless_completed()
    (result,) = [update for update in updates if isinstance(update, ToolResultUpdate)]
    assert (result.content, result.is_error) == ('{"error":"give a word"}', True)


@pytest.mark.conformance("CTRL-07")
@pytest.mark.conformance("CTRL-10")
async def test_shutdown_cancelling_the_run_cancels_the_call_there(server: Server, mesh: RunHost) -> None:
    run = mesh.run(agent(server.address, "hang", word="x"), input="go")
    task = asyncio.create_task(run.result())
    assert await server.line() == "begun hang"
    await run.cancel("enough")
    assert await server.line() == "cancelled hang"
    await task


@pytest.mark.conformance("CTRL-07")
async def test_a_server_that_dies_during_a_call_is_an_error_for_the_agent(server: Server, mesh: RunHost) -> None:
    async with mesh.run(agent(server.address, "hang", word="x"), input="go") as run:
        assert await server.line() == "begun hang"
        server.process.kill()
        updates = [update async for update in run.updates()]
        run.raise_unless_completed()
    (result,) = [update for update in updates if isinstance(update, ToolResultUpdate)]
    assert result.is_error
