"""A mesh with deployed pipelines for MCP clients, and `lanemesh mcp` before it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

from lanemesh import Client
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.forked import forked

RIGS = Path(__file__).parent
ADDITIONS = RIGS / "mcp_additions.py"
"""The file for `lanemesh mcp --with`."""
SCRIPT = Path(sys.executable).with_name("lanemesh")
ECHO: dict[str, Any] = {
    "description": "Returns its input.",
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "chat_1"}]},
    ],
}
"""A pipeline that returns its input."""
START_SECONDS = 60.0


def content(*parts: dict[str, Any]) -> dict[str, Any]:
    """A pipeline without an input that returns these parts; see `McpContent`."""
    lanes = {"text": "text", "image": "image", "audio": "audio", "document": "documents", "data": "data"}
    used = {lanes[key] for part in parts for key in part if key in lanes} or {"text"}
    inputs = [{"lane": lane, "from": "content_1"} for lane in sorted(used)]
    return {
        "components": [
            {"id": "content_1", "provider": "mcp_content", "config": {"parts": list(parts)}},
            {"id": "out_1", "provider": "response", "input": inputs},
        ]
    }


def job(properties: dict[str, Any], **config: Any) -> dict[str, Any]:
    """A pipeline with arguments of its own that takes some time; see `McpJob`."""
    schema = {"type": "object", "properties": properties}
    return {
        "components": [
            {"id": "form_1", "provider": "mcp_form", "config": {"arguments": schema}},
            {"id": "job_1", "provider": "mcp_job", "config": config, "input": [{"lane": "data", "from": "form_1"}]},
            {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "job_1"}]},
        ]
    }


@asynccontextmanager
async def mesh(**pipelines: dict[str, Any]) -> AsyncIterator[str]:
    """A mesh with these pipelines deployed; its address."""
    orchestrator = Orchestrator(embedded=True, nodes=[RIGS / "mcp_nodes.py", RIGS / "outside_tools.py"])
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            for name, pipeline in pipelines.items():
                await client.deploy(name, pipeline)
        yield orchestrator.address
    finally:
        await orchestrator.close()


@asynccontextmanager
async def mcp_over_http(address: str, *options: str, environment: dict[str, str] | None = None) -> AsyncIterator[str]:
    """The URL of a `lanemesh mcp --http` for a mesh."""
    process = await forked("mcp", f"--mesh={address}", "--http=0", *options, stderr=PIPE, environment=environment)
    assert process.stderr is not None
    rest: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(START_SECONDS):
            line = (await process.stderr.readline()).decode()
        assert line.startswith("the MCP server of "), line + (await process.stderr.read()).decode()
        rest = asyncio.create_task(process.stderr.read())
        yield line.partition(" listens at ")[2].strip()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if rest is not None:
            sys.stderr.buffer.write(await rest) if hasattr(sys.stderr, "buffer") else None
