"""A gateway to a mesh of this process that records the event streams which it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanemesh import Client, Mesh
from lanemesh.client.run_host import RunHost
from lanemesh_orchestrator.gateway.app import create_app
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.http_server.server import HttpServer
from lanemesh_orchestrator.orchestrator import Orchestrator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NODES = Path(__file__).with_name("model_nodes.py")
"""Node types of the pipelines."""


@dataclass
class Recorded:
    """A response that is a stream of events."""

    path: str
    query: str
    """The query of the request."""
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False
    """It was sent to its end."""


@dataclass
class ModelGateway:
    """A gateway for tests."""

    mesh: RunHost
    url: str
    """Its base URL, without a path."""
    streams: list[Recorded]
    """All event streams so far."""

    async def deploy(self, name: str, *script: Any, delay: float = 0.0, lane: str = "answers", **config: Any) -> None:
        """Deploys a model that replays a script."""
        await self.mesh.deploy(name, scripted(*script, delay=delay, lane=lane, **config))


def scripted(*script: Any, delay: float = 0.0, lane: str = "answers", **config: Any) -> dict[str, Any]:
    """A pipeline whose model replays a script."""
    return {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {
                "id": "llm_1",
                "provider": "llm_scripted",
                "config": {"script": list(script), "delay": delay, **config},
                "input": [{"lane": "questions", "from": "chat_1"}],
            },
            {"id": "out_1", "provider": "response", "input": [{"lane": lane, "from": "llm_1"}]},
        ]
    }


def answering(provider: str, **config: Any) -> dict[str, Any]:
    """A pipeline in which a node answers questions; see `model_nodes.py`."""
    entry = {"provider": provider, "config": config, "input": [{"lane": "questions", "from": "chat_1"}]}
    return {
        "components": [
            {"id": "chat_1", "provider": "chat"},
            {"id": "node_1", **entry},
            {"id": "out_1", "provider": "response", "input": [{"lane": "answers", "from": "node_1"}]},
        ]
    }


class Recorder:
    """An application in front of another one that records its event streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.streams: list[Recorded] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
        recorded: Recorded | None = None

        async def record(message: Message) -> None:
            nonlocal recorded
            if message["type"] == "http.response.start":
                if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream"):
                    recorded = Recorded(scope["path"], scope["query_string"].decode())
                    self.streams.append(recorded)
            elif recorded is not None and message["type"] == "http.response.body":
                recorded.body += message.get("body", b"")
                recorded.is_whole = not message.get("more_body", False)
            await send(message)

        await self._app(scope, receive, record)


@asynccontextmanager
async def model_gateway(options: GatewayOptions | None = None) -> AsyncIterator[ModelGateway]:
    """A gateway to a mesh of this process."""
    async with Mesh(nodes=NODES) as mesh, gateway_to(mesh, options) as made:
        yield made


@asynccontextmanager
async def remote_gateways() -> AsyncIterator[tuple[ModelGateway, ModelGateway]]:
    """Two gateways to the same orchestrator, each with a client of its own."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    try:
        async with (
            Client(orchestrator.address) as one,
            Client(orchestrator.address) as other,
            gateway_to(one) as first,
            gateway_to(other) as second,
        ):
            yield first, second
    finally:
        await orchestrator.close()


@asynccontextmanager
async def gateway_to(mesh: RunHost, options: GatewayOptions | None = None) -> AsyncIterator[ModelGateway]:
    """A gateway to a mesh."""
    recorder = Recorder(create_app(mesh, options))
    server = HttpServer(recorder, "127.0.0.1", 0)
    serving = asyncio.create_task(server.run())
    try:
        yield ModelGateway(mesh, server.url.rstrip("/"), recorder.streams)
    finally:
        server.close()
        await serving
