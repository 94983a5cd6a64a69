"""Work on large bodies is not done in the event loop, by any API."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.agui import endpoint as agui
from lanemesh_orchestrator.gateway.api import runs
from lanemesh_orchestrator.gateway.api.bodies import StartRun
from lanemesh_orchestrator.gateway.model_api.conversation import Conversation
from lanemesh_orchestrator.gateway.websocket import requests, socket
from websockets.asyncio.client import connect

from rigs.gateways import gateway_at
from rigs.runs import line, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat"))
TEXT = pipeline({"id": "chat", "provider": "chat"}, response("chat"))
SMALL, LARGE = "x", "x" * 100_000


class Watched:
    """Functions, with the place of each call: in the thread of the event loop, or in another one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._loop = threading.get_ident()
        self.in_loop: set[str] = set()
        self.elsewhere: set[str] = set()

    def watch(self, owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def called(*arguments: Any, **options: Any) -> Any:
            (self.in_loop if threading.get_ident() == self._loop else self.elsewhere).add(name)
            return original(*arguments, **options)

        self._patch.setattr(owner, name, called)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.mark.parametrize("text", [SMALL, LARGE], ids=["small", "large"])
async def test_runs_by_http(embedded: httpx.AsyncClient, watched: Watched, text: str) -> None:
    watched.watch(StartRun, "model_validate")
    watched.watch(runs, "inputs_of")
    assert (await embedded.post("/v1/runs", json={"pipeline": TAG, "input": text})).status_code == 201
    assert (watched.in_loop if text == SMALL else watched.elsewhere) == {"model_validate", "inputs_of"}
    assert not (watched.elsewhere if text == SMALL else watched.in_loop)


@pytest.mark.parametrize("text", [SMALL, LARGE], ids=["small", "large"])
async def test_runs_by_websocket(mesh: Mesh, watched: Watched, text: str) -> None:
    watched.watch(requests, "read_request")
    watched.watch(socket, "inputs_of")
    async with gateway_at(mesh) as server, connect(f"{server.url.replace('http', 'ws', 1)}/v1/ws") as client:
        await client.send(json.dumps({"type": "start", "id": "1", "pipeline": TAG, "input": text}))
        assert json.loads(await client.recv())["type"] == "started"
    assert (watched.in_loop if text == SMALL else watched.elsewhere) == {"read_request", "inputs_of"}
    assert not (watched.elsewhere if text == SMALL else watched.in_loop)


@pytest.mark.parametrize("text", [SMALL, LARGE], ids=["small", "large"])
async def test_model_apis(embedded: httpx.AsyncClient, mesh: Mesh, watched: Watched, text: str) -> None:
    asked = {"model": "text", "messages": [{"role": "user", "content": text}]}
    agent = {"threadId": "t", "runId": "r", "messages": [{"id": "1", "role": "user", "content": text}]}
    bodies = {
        "/v1/chat/completions": asked,
        "/v1/messages": {**asked, "max_tokens": 1},
        "/v1/responses": {"model": "text", "input": text},
        "/v1/agui/text": agent,
    }
    watched.watch(Conversation, "input_of")
    watched.watch(agui.AgentInput, "model_validate")
    await mesh.deploy("text", TEXT)
    try:
        for path, body in bodies.items():
            assert (await embedded.post(path, json=body)).status_code == 200, path
    finally:
        await mesh.undeploy("text")
    assert (watched.in_loop if text == SMALL else watched.elsewhere) == {"input_of", "model_validate"}
    assert not (watched.elsewhere if text == SMALL else watched.in_loop)
