"""An agent uses an MCP server of others, from npm, on meshes of its own and on a node server that has to allow it."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from lanemesh.client.updates import RunState, ToolProgressUpdate, ToolResultUpdate
from lanemesh.faults import LanemeshError
from lanemesh.server.file_roots import FileRoots
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import all_services
from lanemesh_orchestrator.mesh import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.mcp_suite import everything
from rigs.npm_packages import npm

pytestmark = pytest.mark.skipif(npm() is None, reason="the server is an npm package, and there is no npm here")

CALLS = [
    {"name": "get-sum", "arguments": {"a": 2, "b": 3}},
    {"name": "get-tiny-image", "arguments": {}},
    {"name": "get-structured-content", "arguments": {"location": "Chicago"}},
    {"name": "trigger-long-running-operation", "arguments": {"duration": 0.3, "steps": 3}},
    {"name": "get-sum", "arguments": {"a": "two"}},
]


def agent(command: list[str]) -> dict[str, Any]:
    """An agent that makes the calls."""
    return {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {"id": "agent_1", "provider": "agent_wave", "input": [{"lane": "questions", "from": "chat_1"}]},
            {"id": "out_1", "provider": "response", "input": [{"lane": "answers", "from": "agent_1"}]},
            {
                "id": "llm_1",
                "provider": "llm_scripted",
                "config": {"script": [{"text": "I call them.", "tool_calls": CALLS}, "The sum is 5."]},
                "control": [{"classType": "llm", "from": "agent_1"}],
            },
            {
                "id": "mcp_1",
                "provider": "tool_mcp",
                "config": {"command": command},
                "control": [{"classType": "tool", "from": "agent_1"}],
            },
        ]
    }


@pytest.mark.parametrize("spread", [None, "service"], ids=["embedded", "spread"])
async def test_an_agent_calls_the_tools_of_a_server_of_others(spread: Literal["service"] | None) -> None:
    async with Mesh(spread=spread) as mesh, mesh.run(agent(everything()), input="What is 2 + 3?") as run:
        updates = [update async for update in run.updates()]
        assert run.state is RunState.COMPLETED, updates[-1]
    results = {update.call_id: update for update in updates if isinstance(update, ToolResultUpdate)}
    total, image, weather, _, wrong = (results[f"call_0_{number}"] for number in range(5))
    assert json.loads(total.content) == "The sum of 2 and 3 is 5."
    assert "image/png" in image.content
    assert set(json.loads(weather.content)) == {"temperature", "conditions", "humidity"}
    assert wrong.is_error
    fractions = [update.fraction for update in updates if isinstance(update, ToolProgressUpdate)]
    assert fractions[-1] == 1.0


async def test_a_node_server_has_to_allow_the_command() -> None:
    command = everything()
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    try:
        for allowed in ((), (f"{command[0]} {command[1]}",)):
            host = NodeHost(all_services(["agent", "llm", "tools"]), name="tools")
            host.files = FileRoots.of([], commands=allowed)
            server = NodeServer(host, orchestrator=orchestrator.address)
            await server.start()
            assert server.registration is not None
            await server.registration.joined.wait()
            try:
                from lanemesh import Client

                async with Client(orchestrator.address) as client:
                    if allowed:
                        assert await client.request(agent(command), "go").text() == "The sum is 5."
                    else:
                        with pytest.raises(LanemeshError, match="Start the node server with --allow 'command:"):
                            await client.request(agent(command), "go").text()
            finally:
                await server.stop()
    finally:
        await orchestrator.close()
