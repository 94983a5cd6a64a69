"""A run that is cancelled during a call stops the work at the helper within a second, for every kind of helper.

The work ticks every 0.1 s where it runs. It may tick ten times after the cancellation, so that a slow machine, where the ticks are
slow as well, does not fail the test.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from lanemesh.v1 import control_pb2, control_pb2_grpc, lane_pb2
from lanemesh_orchestrator import Mesh

from rigs.heartbeats import beat
from rigs.runs import RIGS, Component, chat, line, node, pipeline, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_TICKS = 10
"""Ticks of a second."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "spread"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """A mesh in this process, or spread over processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANEMESH_ALLOW", "shell")
        async with Mesh("service" if request.param == "spread" else None, nodes=[RIGS / "heartbeat_nodes.py"]) as mesh:
            yield mesh


def ticks(folder: Path) -> int:
    """The ticks so far."""
    file = folder / "ticks"
    return file.stat().st_size if file.exists() else 0


def stopped(folder: Path) -> bool:
    """The work has recorded its end, or its process is gone."""
    if (folder / "stopped").exists():
        return True
    process = folder / "pid"
    return process.exists() and not Path(f"/proc/{process.read_text().strip()}").exists()


async def cancelled(mesh: Mesh, folder: Path, call: str, *helpers: Component, **config: Any) -> int:
    """Cancels a run during a call; returns how often the work has ticked after that."""
    caller = node("caller", "beat_caller", "chat", call=call, **config)
    parts = line(caller)
    run = mesh.run(pipeline(*parts["components"], *helpers), input=str(folder))
    async with run:
        ending = asyncio.create_task(run.result())
        await until(lambda: ticks(folder) > 0 or ending.done(), seconds=60)
        before = ticks(folder)
        await run.cancel()
        result = await ending
        assert result.state == "cancelled", result.error
        await until(lambda: stopped(folder) or ticks(folder) > before + MOST_TICKS)
    assert stopped(folder), "the work goes on"
    return ticks(folder) - before


def helper(provider: str, kind: str, invoker: str = "caller", component: str = "helper", /, **config: Any) -> Component:
    """A helper of a component."""
    control = [{"classType": kind, "from": invoker}]
    return {"id": component, "provider": provider, "config": config, "control": control}


@pytest.mark.conformance("CTRL-10")
@pytest.mark.parametrize(
    ("call", "provider"),
    [("llm", "beat_llm"), ("agent", "beat_agent"), ("memory get", "beat_memory"), ("memory search", "beat_memory")],
)
async def test_models_agents_and_memories(mesh: Mesh, tmp_path: Path, call: str, provider: str) -> None:
    assert await cancelled(mesh, tmp_path, call, helper(provider, call.split()[0])) <= MOST_TICKS


@pytest.mark.conformance("CTRL-10")
async def test_an_agent_that_calls_a_tool(mesh: Mesh, tmp_path: Path) -> None:
    script = [{"tool_calls": [{"name": "beat", "arguments": {"folder": str(tmp_path)}}]}]
    agent = helper("agent_wave", "agent")
    model = helper("llm_scripted", "llm", "helper", "model", script=script)
    tools = helper("tool_python", "tool", "helper", "tools", file=str(RIGS / "heartbeats.py"))
    assert await cancelled(mesh, tmp_path, "agent", agent, model, tools) <= MOST_TICKS


@pytest.mark.conformance("CTRL-10")
async def test_functions(mesh: Mesh, tmp_path: Path) -> None:
    tools = helper("tool_python", "tool", file=str(RIGS / "heartbeats.py"))
    assert await cancelled(mesh, tmp_path, "tool", tools) <= MOST_TICKS


@pytest.mark.conformance("CTRL-10")
async def test_commands(mesh: Mesh, tmp_path: Path) -> None:
    command = "echo $$ > pid; while true; do printf x >> ticks; sleep 0.1; done"
    tools = helper("tool_shell", "tool", root=str(tmp_path))
    given = {"tool": "run_command", "arguments": {"command": command}}
    assert await cancelled(mesh, tmp_path, "tool", tools, **given) <= MOST_TICKS


@pytest.mark.conformance("CTRL-10")
async def test_pipelines(mesh: Mesh, tmp_path: Path) -> None:
    out: Component = {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "work"}]}
    document = pipeline(chat(), node("work", "beating", "chat"), out)
    tools = helper("tool_pipeline", "tool", document=document, name="beat", description="Ticks.")
    given = {"arguments": {"input": str(tmp_path)}}
    assert await cancelled(mesh, tmp_path, "tool", tools, **given) <= MOST_TICKS


@pytest.mark.conformance("CTRL-10")
async def test_mcp_servers(mesh: Mesh, tmp_path: Path) -> None:
    tools = helper("tool_mcp", "tool", command=[sys.executable, str(RIGS / "heartbeats.py")])
    assert await cancelled(mesh, tmp_path, "tool", tools) <= MOST_TICKS


@pytest.mark.conformance("CTRL-10")
async def test_grpc_servers(mesh: Mesh, tmp_path: Path) -> None:
    async with _grpc_server() as address:
        assert await cancelled(mesh, tmp_path, "tool", helper("tool_grpc", "tool", address=address)) <= MOST_TICKS


@pytest.mark.conformance("CTRL-10")
async def test_http_servers(mesh: Mesh, tmp_path: Path) -> None:
    async with _http_server(tmp_path) as url:
        tools = helper("tool_http", "tool", hosts=["127.0.0.1"], private=True)
        given = {"tool": "http_request", "arguments": {"url": url}}
        assert await cancelled(mesh, tmp_path, "tool", tools, **given) <= MOST_TICKS


class _Tools(control_pb2_grpc.ToolServiceServicer):
    async def ListTools(self, request: Any, context: Any) -> control_pb2.ListToolsResponse:
        return control_pb2.ListToolsResponse(tools=[lane_pb2.ToolSpec(name="beat")])

    async def CallTool(self, request: Any, context: Any) -> AsyncIterator[control_pb2.CallToolResponse]:
        await beat(json.loads(request.arguments_json)["folder"])
        yield control_pb2.CallToolResponse()


@asynccontextmanager
async def _grpc_server() -> AsyncIterator[str]:
    server = grpc.aio.server()
    control_pb2_grpc.add_ToolServiceServicer_to_server(_Tools(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@asynccontextmanager
async def _http_server(folder: Path) -> AsyncIterator[str]:
    """A server that works until its client closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        work = asyncio.create_task(beat(str(folder)))
        await reader.read()
        work.cancel()
        await asyncio.wait([work])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
