"""The tools of deployed pipelines behind an MCP server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client
from lanemesh_orchestrator.mcp_server.server import MeshServer
from mcp.client import Client as McpClient
from mcp_types import EmbeddedResource, ImageContent, TextContent

from rigs.mcp_mesh import ECHO, mesh


def offering(*providers: str) -> dict[str, Any]:
    """A pipeline with these providers of tools alone."""
    return {"components": [{"id": f"{provider}_1", "provider": provider} for provider in providers]}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a mesh with tools. Deployed is also a pipeline that has the name of one of them."""
    async with (
        mesh(forecast=ECHO, town=offering("weather"), studio=offering("camera")) as address,
        Client(address) as client,
    ):
        yield client


@pytest.fixture
async def server(client: Client) -> AsyncIterator[MeshServer]:
    server = MeshServer(client)
    yield server
    await server.close()


eras = pytest.mark.parametrize("mode", ["auto", "legacy"])


@eras
async def test_tools_are_listed_beside_pipelines_with_names_of_their_own(server: MeshServer, mode: str) -> None:
    async with McpClient(server, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["forecast", "studio", "town", "picture", "town_forecast", "broken", "endless"]
        assert tools["town_forecast"].description == "Forecasts the weather."
        assert set(tools["town_forecast"].input_schema["properties"]) == {"city", "days"}
        reports: list[str | None] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            reports.append(message)

        result = await client.call_tool("town_forecast", {"city": "Oslo"}, progress_callback=on_progress)
        assert result.structured_content == {"city": "Oslo", "days": 1}
        assert not result.is_error
        assert reports == ["asking for Oslo"]
        pipeline = await client.call_tool("forecast", {"text": "hello"})
        assert [block.text for block in pipeline.content if isinstance(block, TextContent)] == ["hello"]


@eras
async def test_parts_of_a_result_are_content(server: MeshServer, mode: str) -> None:
    async with McpClient(server, mode=mode) as client:
        text, image, document = (await client.call_tool("picture", {"of": "a cat"})).content
    assert isinstance(text, TextContent)
    assert isinstance(image, ImageContent)
    assert base64.b64decode(image.data) == b"pixels"
    assert isinstance(document, EmbeddedResource)
    assert getattr(document.resource, "text", "") == "A picture of a cat"
    assert str(document.resource.uri) == "camera://1"


async def test_a_tool_that_fails_and_an_unknown_one_are_errors(server: MeshServer) -> None:
    async with McpClient(server) as client:
        for name, words in (("broken", "no sky"), ("pictur", 'Did you mean "picture"?')):
            failed = await client.call_tool(name, {})
            assert failed.is_error
            assert any(words in block.text for block in failed.content if isinstance(block, TextContent))


@eras
async def test_cancelling_a_call_cancels_the_tool(
    server: MeshServer, client: Client, mode: str, tmp_path: Path
) -> None:
    begun, file = asyncio.Event(), tmp_path / "end"

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    async with McpClient(server, mode=mode) as mcp, asyncio.timeout(60):
        calling = asyncio.create_task(mcp.call_tool("endless", {"file": str(file)}, progress_callback=on_progress))
        await begun.wait()
        calling.cancel()
        await asyncio.wait([calling])
        (record, *_) = await client.runs(limit=1, deployment="town")
        assert (await client.attach(record.run_id).result()).state == "cancelled"
    assert file.read_text() == "cancelled"


async def test_a_deployment_that_does_not_list_its_tools_holds_up_no_client(
    server: MeshServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanemesh_orchestrator.mcp_server.mesh_tools.PATIENCE_SECONDS", 0.1)
    await client.deploy("silent", offering("silent"))
    async with McpClient(server) as mcp, asyncio.timeout(60):
        assert {"forecast", "silent"} <= {tool.name for tool in (await mcp.list_tools()).tools}
