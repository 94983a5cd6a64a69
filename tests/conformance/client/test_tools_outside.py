"""Tools of deployed pipelines, called by clients outside any run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh import Client, Mesh, ToolProgress
from lanemesh.client.run_host import RunHost
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator.orchestrator import Orchestrator

from endings import lasting

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODES = Path(__file__).parents[2] / "rigs" / "outside_tools.py"
AGENT: dict[str, Any] = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "agent_1", "provider": "agent_wave", "input": [{"lane": "questions", "from": "chat_1"}]},
        {"id": "llm_1", "provider": "llm_scripted", "control": [{"classType": "llm", "from": "agent_1"}]},
        {"id": "weather_1", "provider": "weather", "control": [{"classType": "tool", "from": "agent_1"}]},
        {"id": "out_1", "provider": "response", "input": [{"lane": "answers", "from": "agent_1"}]},
    ]
}
TOOLBOX: dict[str, Any] = {"components": [{"id": "archive_1", "provider": "archive"}]}


@asynccontextmanager
async def embedded() -> AsyncIterator[RunHost]:
    async with Mesh(nodes=NODES) as mesh:
        yield mesh


@asynccontextmanager
async def remote() -> AsyncIterator[RunHost]:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            yield client
    finally:
        await orchestrator.close()


@asynccontextmanager
async def spread() -> AsyncIterator[RunHost]:
    async with Mesh("service", nodes=NODES) as mesh:
        yield mesh


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=[embedded, remote, spread], ids=["memory", "client", "spread"]
)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[RunHost]:
    async with lasting("the host", request.param()) as host:
        await host.deploy("agent", AGENT)
        yield host


@pytest.mark.conformance("CTRL-08")
async def test_tools_are_listed_and_called_outside_any_run(host: RunHost) -> None:
    tools = {tool.name: tool for tool in await host.tools()}
    assert sorted(tools) == ["broken", "endless", "forecast"]
    assert (tools["forecast"].deployment, tools["forecast"].component) == ("agent", "weather_1")
    assert tools["forecast"].description == "Forecasts the weather."
    assert set(tools["forecast"].parameters["properties"]) == {"city", "days"}
    progress: list[ToolProgress] = []
    result = await host.call_tool("forecast", {"city": "Oslo", "days": 3}, on_progress=progress.append)
    assert result.value == {"city": "Oslo", "days": 3}
    assert not result.is_error
    assert [(one.message, one.fraction) for one in progress] == [("asking for Oslo", 0.5)]


@pytest.mark.conformance("CTRL-08")
async def test_a_tool_that_fails_is_a_result_and_an_unknown_one_an_error(host: RunHost) -> None:
    failed = await host.call_tool("broken", deployment="agent")
    assert failed.is_error
    assert "no sky" in failed.content
    wrong = await host.call_tool("forecast", '{"days": "many"}')
    assert wrong.is_error
    assert wrong.value["reason"] == "bad-arguments"
    with pytest.raises(LanemeshError) as unknown:
        await host.call_tool("forecst", {})
    assert unknown.value.fault.reason == "unknown-tool"
    assert 'Did you mean "forecast"' in unknown.value.fault.message
    with pytest.raises(LanemeshError) as missing:
        await host.tools("nothing")
    assert missing.value.fault.reason == "unknown-deployment"


@pytest.mark.conformance("CTRL-08")
async def test_cancelling_a_call_cancels_the_tool(host: RunHost, tmp_path: Path) -> None:
    file, begun = tmp_path / "end", asyncio.Event()
    arguments = {"file": str(file)}
    call = asyncio.create_task(host.call_tool("endless", arguments, on_progress=lambda _: begun.set()))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    latest = (await host.runs(limit=1, deployment="agent"))[0]
    assert (await host.attach(latest.run_id).result()).state == "cancelled"
    assert file.read_text() == "cancelled"


@pytest.mark.conformance("CTRL-08")
async def test_a_call_ends_at_its_timeout(host: RunHost) -> None:
    with pytest.raises(LanemeshError) as late:
        await host.call_tool("endless", timeout=0.5)
    assert late.value.fault.reason in ("helper-timeout", "timeout")


@pytest.mark.conformance("CTRL-08")
async def test_tools_of_one_name_are_told_apart(host: RunHost) -> None:
    await host.deploy("box", TOOLBOX)
    try:
        assert [tool.name for tool in await host.tools()] == ["agent_forecast", "broken", "endless", "box_forecast"]
        assert [tool.name for tool in await host.tools("box")] == ["forecast"]
        assert (await host.call_tool("box_forecast", {"city": "Oslo"})).value == "it rained in Oslo"
        of_agent = await host.call_tool("forecast", {"city": "Oslo"}, deployment="agent")
        assert of_agent.value == {"city": "Oslo", "days": 1}
        with pytest.raises(LanemeshError) as several:
            await host.call_tool("forecast", {"city": "Oslo"})
    finally:
        await host.undeploy("box")
    assert several.value.fault.reason == "several-tools"
    assert "agent_forecast, box_forecast" in several.value.fault.message


async def test_a_call_is_a_run_of_the_deployed_pipeline(host: RunHost) -> None:
    await host.call_tool("forecast", {"city": "Oslo"})
    latest = (await host.runs(limit=1, deployment="agent"))[0]
    assert latest.state == "completed"
    tree = json.loads((await host.record(latest.run_id)).pipeline_json)
    assert [one["id"] for one in tree["components"]] == ["weather_1", "tool_caller", "tools_listed"]


@asynccontextmanager
async def looping() -> AsyncIterator[tuple[Orchestrator, Client]]:
    """A mesh with a deployed pipeline whose tool calls itself through the address of the orchestrator."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    loop = {
        "components": [
            {"id": "forwarder_1", "provider": "forwarder"},
            {
                "id": "mesh_1",
                "provider": "tool_grpc",
                "config": {"address": orchestrator.address},
                "control": [{"classType": "tool", "from": "forwarder_1"}],
            },
        ]
    }
    try:
        async with Client(orchestrator.address) as client:
            await client.deploy("loop", loop)
            yield orchestrator, client
    finally:
        await orchestrator.close()


@pytest.mark.waits
async def test_a_tool_that_calls_itself_through_the_orchestrator_ends_at_the_limit_of_depth() -> None:
    async with looping() as (_, client), asyncio.timeout(60):
        assert [tool.name for tool in await client.tools()] == ["forward"]
        result = await client.call_tool("forward")
        assert "8 runs are above this run already" in result.content
        calls = [record for record in await client.runs(limit=100) if record.output_count == 0]  # a list is an output
        assert len(calls) == 9  # the call of the client, and eight below it


async def test_a_deployment_that_does_not_list_its_tools_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with remote() as host, asyncio.timeout(60):
        await host.deploy("agent", AGENT)
        await host.tools("agent")  # its list is fresh from now on, however long that took
        monkeypatch.setattr("lanemesh_orchestrator.tools.tools.PATIENCE_SECONDS", 0.5)
        await host.deploy("silent", {"components": [{"id": "silent_1", "provider": "silent"}]})
        assert [tool.name for tool in await host.tools()] == ["forecast", "broken", "endless"]
        assert "the tools of silent are not listed yet" in caplog.text
        result = await host.call_tool("forecast", {"city": "Oslo"})
        assert result.value == {"city": "Oslo", "days": 1}
