"""A gateway sends the tokens of its callers on to the mesh, so that scopes hold through HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from lanemesh import Client
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator.gateway.guard.tokens import SUBPROTOCOL
from lanemesh_orchestrator.gateway.model_api import models
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.http_server.server import HttpServer
from lanemesh_orchestrator.orchestrator import Orchestrator
from websockets.asyncio.client import connect

from rigs.doors import Doors
from rigs.gateways import all_events, client_of, gateway_at, texts
from rigs.runs import NODES, line, node

TAG = line(node("a", "tag", "chat", mark="+"))


@pytest.fixture
async def server(doors: Doors) -> AsyncIterator[HttpServer]:
    """A gateway that sends tokens on, and has one of its own with the scope watch."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES], security=doors.tokens_only("node"))
    await orchestrator.listen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANEMESH_TOKEN", doors.token("watcher"))
        client = Client(orchestrator.address)
    client.forward_tokens()
    async with client, gateway_at(client, GatewayOptions(mesh_tokens=True)) as gateway:
        yield gateway
    await orchestrator.close()


@pytest.fixture
async def web(server: HttpServer) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(server.url) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"authorization": f"Bearer {token}"}


async def test_a_caller_may_do_what_its_own_token_permits(web: httpx.AsyncClient, doors: Doors) -> None:
    body = {"pipeline": TAG, "input": "x"}
    runner, watcher, deployer = (bearer(doors.token(name)) for name in ("runner", "watcher", "deployer"))

    started = await web.post("/v1/runs", json=body, headers=runner)
    assert started.status_code == 201
    assert texts(await all_events(web, f"{started.headers['location']}/events", headers=runner)) == ["+x"]
    assert (await web.get("/v1/runs", headers=watcher)).status_code == 200
    assert (await web.put("/v1/deployments/tagged", json={"pipeline": TAG}, headers=deployer)).is_success

    refused = await web.post("/v1/runs", json=body, headers=watcher)
    assert (refused.status_code, refused.json()["title"]) == (403, "scope-missing")
    refused = await web.put("/v1/deployments/tagged", json={"pipeline": TAG}, headers=runner)
    assert (refused.status_code, refused.json()["title"]) == (403, "scope-missing")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [({}, "unauthorized"), (bearer("wrong"), "token-invalid"), (bearer("two words"), "unauthorized")],
    ids=["missing", "wrong", "malformed"],
)
async def test_without_a_valid_token_nothing_is_done_by_that_of_the_gateway(
    web: httpx.AsyncClient, headers: dict[str, str], reason: str
) -> None:
    for path in ("/v1/runs", "/v1/node-types"):
        answer = await web.get(path, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (401, reason)


async def test_no_caller_gets_the_models_that_another_has_listed(
    web: httpx.AsyncClient, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "FRESH_SECONDS", 1e9)  # each list is kept
    runner, junk, nothing = (bearer(token) for token in (doors.token("runner"), "wrong", doors.token("nothing")))
    pipeline = {
        "components": [
            {"id": "in", "provider": "chat"},
            {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "in"}]},
        ]
    }
    deployed = await web.put(
        "/v1/deployments/secret", json={"pipeline": pipeline}, headers=bearer(doors.token("deployer"))
    )
    assert deployed.is_success
    listed = await web.get("/v1/models", headers=runner)
    assert [one["id"] for one in listed.json()["data"]] == ["secret"]

    asked = {"messages": [{"role": "user", "content": "x"}]}
    for headers, status in ((junk, 401), (nothing, 403)):
        answers = [
            await web.get("/v1/models", headers=headers),
            await web.get("/v1/models/secret", headers=headers),
            await web.get("/v1/models/secrets", headers=headers),
            await web.post("/v1/chat/completions", json={"model": "secrets", **asked}, headers=headers),
            await web.post("/v1/messages", json={"model": "secrets", "max_tokens": 1, **asked}, headers=headers),
            await web.post("/v1/embeddings", json={"model": "secrets", "input": "x"}, headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [status] * len(answers)
        assert not [answer.text for answer in answers if '"secret"' in answer.text]


async def test_the_page_needs_no_token(web: httpx.AsyncClient) -> None:
    assert (await web.get("/")).status_code == 200
    assert (await web.get("/healthz")).status_code == 200


async def test_a_websocket_sends_the_token_as_a_subprotocol(server: HttpServer, doors: Doors) -> None:
    answers: dict[str, Any] = {}
    for name in ("runner", "watcher"):
        coded = base64.urlsafe_b64encode(doors.token(name).encode()).decode().rstrip("=")
        url = f"{server.url.replace('http', 'ws', 1)}/v1/ws"
        async with connect(url, subprotocols=[SUBPROTOCOL + coded]) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "start", "id": "1", "pipeline": TAG, "input": "x"}))
            answers[name] = json.loads(await socket.recv())
    assert answers["runner"]["type"] == "started"
    assert answers["watcher"]["type"] == "error"
    assert "scope-missing" in json.dumps(answers["watcher"])


async def test_sessions_belong_to_the_subject_of_renewed_tokens(web: httpx.AsyncClient, doors: Doors) -> None:
    body = {"pipeline": TAG, "input": "x", "session": "talk"}
    first, renewed, other = (bearer(doors.jwt(iat=number, sub=name)) for number, name in ((1, "a"), (2, "a"), (3, "b")))
    assert first != renewed
    started = await web.post("/v1/runs", json=body, headers=first)
    assert started.status_code == 201
    await all_events(web, f"{started.headers['location']}/events", headers=first)
    assert (await web.get("/v1/sessions/talk", headers=renewed)).status_code == 200
    assert (await web.get("/v1/sessions/talk", headers=other)).status_code == 404


def test_a_gateway_has_a_token_of_its_own_or_passes_on_others() -> None:
    with pytest.raises(LanemeshError, match="Use one or the other"):
        GatewayOptions(token="own", mesh_tokens=True)
