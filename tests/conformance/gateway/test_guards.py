"""What the gateway refuses: foreign hosts and origins, wrong tokens, floods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import cast

import httpx
import pytest
import pytest_asyncio
from lanemesh.faults import LanemeshError
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.cli.commands.gateway import WebOptions, web_server
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.gateway.server import gateway_server
from starlette.applications import Starlette

from endings import lasting
from rigs.gateways import events, eventually, gateway
from rigs.runs import line, node

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat"))
APP = "https://app.example"
TOKEN = {"authorization": "Bearer geheim"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with every guard."""
    options = GatewayOptions(hosts=("Mesh.example",), origins=(APP,), token="geheim")
    async with lasting("the gateway", gateway(mesh, options)) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("LocalHost.:8080", 200),
        ("a.localhost:8080", 200),
        ("[::1]:8080", 200),
        ("192.168.1.5", 200),
        ("mesh.example:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:127.0.0.1", 421),
        ("", 400),
    ],
)
async def test_only_its_own_names_are_served(guarded: httpx.AsyncClient, host: str, status: int) -> None:
    answer = await guarded.get("/v1/runs", headers={"host": host, **TOKEN})
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["title"] == "unknown-host"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": APP}, 200),
        ({"origin": "http://localhost:8080"}, 200),
        ({"origin": "https://localhost:8080"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost:8081"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:8080.evil.example"}, 403),
        ({"origin": APP + ".evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
    ],
)
async def test_requests_of_foreign_pages_are_refused(
    guarded: httpx.AsyncClient, headers: Mapping[str, str], status: int
) -> None:
    sent = {"host": "localhost:8080", **TOKEN, **headers}
    answer = await guarded.get("/v1/runs", headers=sent)
    assert answer.status_code == status
    written = await guarded.post("/v1/validate", json={"pipeline": {}}, headers=sent)
    navigates = "sec-fetch-mode" in headers
    assert written.status_code == (403 if navigates else status)


async def test_pages_of_permitted_sites_may_call_and_read(guarded: httpx.AsyncClient) -> None:
    asked = {
        "origin": APP,
        "access-control-request-method": "PUT",
        "access-control-request-headers": "x-a, content-type",
    }
    preflight = await guarded.options("/v1/deployments/x", headers=asked)
    foreign = await guarded.options("/v1/deployments/x", headers={**asked, "origin": "https://evil.example"})
    answer = await guarded.get("/v1/runs", headers={"origin": APP, **TOKEN})
    refused = await guarded.get("/v1/runs", headers={"origin": APP})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "x-a, content-type"
    assert "access-control-allow-origin" not in foreign.headers
    assert foreign.status_code == 400
    for one in (answer, refused):
        assert one.headers["access-control-allow-origin"] == APP
        assert one.headers["access-control-expose-headers"] == "Location, Retry-After, Lanemesh-Run, Preference-Applied"
        assert "access-control-allow-credentials" not in one.headers
    assert (answer.status_code, refused.status_code) == (200, 401)


async def test_every_response_has_the_security_headers(mesh: Mesh) -> None:
    async with gateway(mesh) as web:
        for answer in [await web.get(path) for path in ("/v1/runs", "/nothing", "/v1/docs", "/v1/runs/none")]:
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cache-control"] == "no-store"
            assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Basic geheim"}, 401),
        ({"authorization": "Bearer geheim"}, 200),
        ({"authorization": "bearer geheim"}, 200),
        ({"x-api-key": "geheim"}, 200),
        ({"x-api-key": "geheimer"}, 401),
    ],
)
async def test_the_token_is_required(guarded: httpx.AsyncClient, headers: Mapping[str, str], status: int) -> None:
    answer = await guarded.get("/v1/runs", headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["title"] == "unauthorized"
    assert (await guarded.post("/none", headers=headers)).status_code == (404 if status == 200 else 401)


async def test_a_token_in_a_url_is_none_and_health_and_documents_need_none(guarded: httpx.AsyncClient) -> None:
    assert (await guarded.get("/v1/runs?token=geheim&access_token=geheim")).status_code == 401
    assert (await guarded.get("/v1/runs", headers=[*TOKEN.items(), *TOKEN.items()])).status_code == 401
    for path in ("/healthz", "/v1/openapi.json", "/v1/docs", "/v1/docs.css"):
        assert (await guarded.get(path)).status_code == 200


async def test_a_caller_beyond_its_rate_is_told_when_to_retry(mesh: Mesh) -> None:
    async with gateway(mesh, GatewayOptions(rate=0.2)) as web:  # one request at first, and one in five seconds
        answers = [await web.get("/v1/servers") for _ in range(3)]
        health = await web.get("/healthz")
        other = await web.get("/healthz", headers={"x-forwarded-for": "203.0.113.9"})
    assert [one.status_code for one in answers] == [200, 429, 429]
    assert answers[1].json()["title"] == "too-many-requests"
    assert int(answers[1].headers["retry-after"]) in (4, 5)
    assert (health.status_code, other.status_code) == (429, 200)


async def test_streams_count_as_requests_until_they_end(mesh: Mesh) -> None:
    async with gateway(mesh, GatewayOptions(max_requests_per_token=3, max_requests=3)) as web:
        path = (await web.post("/v1/runs", json={"pipeline": TAG, "open_input": True})).headers["location"]
        async with (
            web.stream("GET", f"{path}/events") as first,
            web.stream("GET", f"{path}/events") as second,
            web.stream("GET", f"{path}/events") as third,
        ):
            for stream in (first, second, third):
                await anext(events(stream))
            full = await web.get("/v1/runs")
            assert (full.status_code, full.json()["title"], full.headers["retry-after"]) == (503, "gateway-full", "1")
            assert (await web.get("/healthz")).status_code == 200

        async def served() -> bool:
            return (await web.post(f"{path}/cancel", json={})).status_code == 200

        await eventually(served)


async def test_one_caller_does_not_take_the_requests_of_all(mesh: Mesh) -> None:
    async with gateway(mesh, GatewayOptions(max_requests_per_token=1)) as web:
        path = (await web.post("/v1/runs", json={"pipeline": TAG, "open_input": True})).headers["location"]
        async with web.stream("GET", f"{path}/events") as stream:
            await anext(events(stream))
            assert (await web.get("/v1/runs")).status_code == 429
            other = await web.get("/v1/runs", headers={"x-forwarded-for": "203.0.113.7"})  # what a proxy here writes
            assert other.status_code == 200
            await web.post(f"{path}/cancel", json={}, headers={"x-forwarded-for": "203.0.113.8"})


@pytest.mark.parametrize(
    "origin", ["*", "app.example", "https://app.example/", "https://app.example/x", "null", "file://x"]
)
async def test_an_origin_that_is_none_is_refused_at_once(origin: str) -> None:
    with pytest.raises(LanemeshError, match="origin"):
        GatewayOptions(origins=(origin,))


async def test_another_address_than_loopback_needs_a_token(mesh: Mesh) -> None:
    with pytest.raises(LanemeshError, match="--token-file"):
        gateway_server(mesh, "0.0.0.0", 0)
    gateway_server(mesh, "0.0.0.0", 0, GatewayOptions(token="t")).close()
    gateway_server(mesh, "0.0.0.0", 0, insecure=True).close()


async def test_requests_that_are_not_http_end_and_leave_the_gateway_as_it_was(mesh: Mesh) -> None:
    async with gateway(mesh) as web:
        address = httpx.URL(web.base_url)
        for sent in (b"\x16\x03\x01\x00\xff" * 9, b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"x" * 300_000):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(sent)
            answer = await reader.read(12)
            assert answer in (b"HTTP/1.1 400", b"")
            writer.close()
        assert (await web.get("/healthz")).status_code == 200


async def test_documents_and_settings_of_clients_are_refused_where_anyone_could_send_them(mesh: Mesh) -> None:
    await mesh.deploy("own", TAG)
    async with gateway(mesh, GatewayOptions(documents=False)) as web:
        refused = [
            await web.post("/v1/runs", json={"pipeline": TAG, "input": "x"}),
            await web.post("/v1/runs", json={"pipeline": "@own", "input": "x", "settings": {"a.mark": "!"}}),
            await web.post("/v1/validate", json={"pipeline": TAG}),
            await web.put("/v1/deployments/other", json={"pipeline": TAG}),
            await web.delete("/v1/deployments/own"),
        ]
        assert [(one.status_code, one.json()["title"]) for one in refused] == [(403, "documents-refused")] * 5
        assert (await web.post("/v1/runs", json={"pipeline": "@own", "input": "x"})).status_code == 201
    await mesh.undeploy("own")


@pytest.mark.parametrize(
    ("host", "token", "trusts", "documents"),
    [
        ("127.0.0.1", "", True, True),
        ("0.0.0.0", "t", True, True),
        ("0.0.0.0", "", True, False),
        ("0.0.0.0", "", False, True),
    ],
)
async def test_the_commands_accept_documents_only_of_those_who_are_trusted(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, host: str, token: str, trusts: bool, documents: bool
) -> None:
    monkeypatch.setenv("LANEMESH_HTTP_TOKEN", token)
    server = web_server(mesh, WebOptions(port=0, host=host, insecure=True), trusts_documents=trusts)
    try:
        assert cast("Starlette", server.app).state.gateway.options.documents is documents
    finally:
        server.close()
