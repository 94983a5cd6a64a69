"""A mesh with deployed pipelines for A2A clients, the server before it, and the official client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.client import Client as A2aClient
from a2a.helpers.proto_helpers import new_text_message
from a2a.types import a2a_pb2
from lanemesh import Client
from lanemesh_orchestrator.a2a_server.server import A2aServer
from lanemesh_orchestrator.orchestrator import Orchestrator

RIGS = Path(__file__).parent
NODES = [RIGS / "mcp_nodes.py", RIGS / "a2a_nodes.py"]
GATED: dict[str, Any] = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {"id": "gated_1", "provider": "gated", "input": [{"lane": "text", "from": "chat_1"}]},
        {"id": "out_1", "provider": "response", "input": [{"lane": "text", "from": "gated_1"}]},
    ]
}
"""A pipeline that sends the words of a text one by one; see `Gated`."""


@asynccontextmanager
async def in_process(pipelines: dict[str, Any], **options: Any) -> AsyncIterator[tuple[str, Client]]:
    """The URL of an A2A server in this process for a mesh with these pipelines, and the client of the mesh that it has."""
    orchestrator = Orchestrator(embedded=True, nodes=NODES, **options)
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            for name, pipeline in pipelines.items():
                await client.deploy(name, pipeline)
            server = A2aServer(client, "127.0.0.1", 0, grpc_port=0)
            serving = asyncio.create_task(server.run())
            try:
                yield server.url, client
            finally:
                server.close()
                await serving
    finally:
        await orchestrator.close()


@asynccontextmanager
async def agent(url: str, name: str, binding: str, *, streaming: bool = True) -> AsyncIterator[A2aClient]:
    """An unmodified client of an agent, made from the agent's card."""
    async with httpx.AsyncClient(timeout=60) as http:
        card = await A2ACardResolver(http, f"{url}/{name}").get_agent_card()
        config = ClientConfig(
            httpx_client=http,
            streaming=streaming,
            supported_protocol_bindings=[binding],
            grpc_channel_factory=grpc.aio.insecure_channel,
        )
        client = ClientFactory(config).create(card)
        try:
            yield client
        finally:
            await client.close()


def message(text: str) -> a2a_pb2.SendMessageRequest:
    """A request that sends a text."""
    return a2a_pb2.SendMessageRequest(message=new_text_message(text, role=a2a_pb2.ROLE_USER))


def texts(task: a2a_pb2.Task) -> list[str]:
    """The text of each artifact of a task."""
    return ["".join(part.text for part in artifact.parts) for artifact in task.artifacts]
