"""Requests that are wrong in every way: each is refused with its field, and the gateway goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.http_server import protocol

from rigs.gateways import EVENTS, eventually, gateway
from rigs.runs import line, node

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat"))
IMAGE = {"mime_type": "image/png", "content": "AAAA"}


def entry(lane: str, value: Any) -> dict[str, Any]:
    """A run with one input of a lane."""
    return {"pipeline": TAG, "input": {"lane": lane, "value": value}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"pipeline": {"comp', "not-json"),
        (b"\xff\xfe", "not-json"),
        (b'{"a": "\\ud800"}', "not-json"),
        (b'{"pipeline": {}, "pipeline": {}}', "not-json"),
        (b'{"timeout": NaN}', "not-json"),
        (b'{"timeout": 1e999}', "not-json"),
        (b'{"input": 99999999999999999999999999}', "not-json"),
        (b"[" * 100_000, "not-json"),
        (b'{"input": ' + b"[" * 200 + b"]" * 200 + b"}", "not-json"),
        (b"[]", "wrong-type"),
        (b"null", "wrong-type"),
        (b"", "missing-field"),
    ],
)
async def test_bodies_that_are_no_object(embedded: httpx.AsyncClient, body: bytes, reason: str) -> None:
    answer = await embedded.post("/v1/runs", content=body)
    assert (answer.status_code, answer.json()["title"]) == (400, reason)


@pytest.mark.parametrize(
    ("body", "pointer", "reason"),
    [
        ({}, "/pipeline", "missing-field"),
        ({"pipeline": 3}, "/pipeline", "wrong-type"),
        ({"pipeline": "chat"}, "/pipeline", "bad-value"),
        ({"pipeline": "/etc/passwd.pipe"}, "/pipeline", "bad-value"),
        ({"pipeline": TAG, "extra": 1}, "/extra", "unknown-field"),
        ({"pipeline": TAG, "timeout": "5"}, "/timeout", "wrong-type"),
        ({"pipeline": TAG, "timeout": 0}, "/timeout", "bad-value"),
        ({"pipeline": TAG, "timeout": 1e300}, "/timeout", "bad-value"),
        ({"pipeline": TAG, "trace": "all"}, "/trace", "bad-value"),
        ({"pipeline": TAG, "open_input": 1}, "/open_input", "wrong-type"),
        ({"pipeline": TAG, "settings": []}, "/settings", "wrong-type"),
        ({"pipeline": TAG, "variables": {"A": 1}}, "/variables/A", "wrong-type"),
        ({"pipeline": TAG, "session": 7}, "/session", "wrong-type"),
        ({"pipeline": TAG, "inputs": "text"}, "/inputs", "wrong-type"),
        ({"pipeline": TAG, "inputs": ["a"], "input": "b"}, "/inputs", "bad-value"),
        ({"pipeline": TAG, "detached": False}, "/detached", "bad-value"),
        (entry("nothing", "x"), "/input/lane", "unknown-lane"),
        (entry("text", 1), "/input/value", "wrong-type"),
        (entry("questions", {"txt": "x"}), "/input/value/text", "missing-field"),
        (
            entry("questions", {"text": "x", "history": [{"content": "y"}]}),
            "/input/value/history/0/role",
            "missing-field",
        ),
        (entry("table", {"columns": ["a"], "rows": [[1, 2]]}), "/input/value", "bad-value"),
        (entry("tags", [1]), "/input/value", "wrong-type"),
        (entry("image", {**IMAGE, "content": "not base64!"}), "/input/value", "bad-value"),
        (entry("image", {**IMAGE, "bytes": 7}), "/input/value", "bad-value"),
        (entry("image", {**IMAGE, "width": -1}), "/input/value", "bad-value"),
        (entry("image", {**IMAGE, "uri": "http://x"}), "/input/value", "bad-value"),
        (
            entry("answers", {"text": "a", "usage": {"prompt_tokens": -1, "completion_tokens": 0}}),
            "/input/value",
            "bad-value",
        ),
        ({"pipeline": TAG, "input": {"port": 3, "value": "x"}}, "/input/port", "wrong-type"),
    ],
)
async def test_wrong_fields_are_named(embedded: httpx.AsyncClient, body: Any, pointer: str, reason: str) -> None:
    answer = await embedded.post("/v1/runs", json=body)
    assert answer.status_code == 400, answer.text
    first = answer.json()["errors"][0]
    assert (first["pointer"], first["reason"]) == (pointer, reason)
    assert answer.json()["title"] == reason


async def test_what_a_field_must_be_is_in_the_words_of_the_api(embedded: httpx.AsyncClient) -> None:
    body = {"pipeline": "@x", "trace": "some", "timeout": "soon", "settings": 1, "inputs": ["x"] * 10_001}
    answer = await embedded.post("/v1/runs", json=body)
    found = {one["pointer"]: one["message"] for one in answer.json()["errors"]}
    assert found == {
        "/trace": "it must be 'none', 'metadata', 'summary' or 'full'",
        "/timeout": "it must be a number",
        "/settings": "it must be an object",
        "/inputs": "it must have at most 10000 entries",
    }


async def test_every_wrong_field_of_a_request_is_listed_without_its_value(embedded: httpx.AsyncClient) -> None:
    body = {"pipeline": TAG, "timeout": "secret-1", "trace": "secret-2", "secret": "secret-3"}
    answer = await embedded.post("/v1/runs", json=body)
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/timeout", "/trace", "/secret"]
    assert "secret-" not in answer.text


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/v1/runs?limit=0", "?/limit"),
        ("/v1/runs?limit=1001", "?/limit"),
        ("/v1/runs?limit=x", "?/limit"),
        ("/v1/runs?state=done", "?/state/0"),
        ("/v1/runs?sort=up", "?/sort"),
        ("/v1/deployments/x?version=-1", "?/version"),
        ("/v1/channels/mesh:x/events?overflow=grow", "?/overflow"),
        ("/v1/channels/mesh:x/events?limit=100000", "?/limit"),
    ],
)
async def test_wrong_parameters_are_named(embedded: httpx.AsyncClient, path: str, pointer: str) -> None:
    answer = await embedded.get(path)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)


async def test_parameters_given_twice_and_wrong_pages_are_refused(web: httpx.AsyncClient) -> None:
    assert (await web.get("/v1/runs?limit=1&limit=2")).status_code == 400
    page = await web.get("/v1/runs?page=nonsense")
    assert (page.status_code, page.json()["title"]) == (400, "bad-page-token")


@pytest.mark.parametrize("name", ["Bad Name", "a" * 65, "é", ".."])
async def test_wrong_names_of_deployments_are_refused(web: httpx.AsyncClient, name: str) -> None:
    answer = await web.put(f"/v1/deployments/{name}", json={"pipeline": TAG})
    assert answer.status_code in (400, 404, 405)


async def test_errors_of_the_mesh_keep_their_status_and_reason(web: httpx.AsyncClient) -> None:
    expected = [
        (await web.post("/v1/runs", json={"pipeline": "@nothing"}), 404, "unknown-deployment"),
        (await web.get("/v1/deployments/nothing"), 404, "unknown-deployment"),
        (await web.delete("/v1/deployments/nothing"), 404, "unknown-deployment"),
        (await web.get("/v1/node-types/nothing"), 404, "unknown-provider"),
        (await web.post("/v1/runs", json={"pipeline": "@"}), 400, "bad-name"),
        (await web.post("/v1/runs", json={"pipeline": TAG, "variables": {"1": "x"}}), 400, "bad-variables"),
        (await web.post("/v1/runs", json={"pipeline": TAG, "session": "\n"}), 400, "bad-session"),
        (await web.get("/nothing"), 404, "no-such-path"),
        (await web.patch("/v1/runs"), 405, "method-not-allowed"),
    ]
    for answer, status, reason in expected:
        assert (answer.status_code, answer.json()["title"]) == (status, reason), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.waits
async def test_large_bodies_are_refused_before_they_are_read(mesh: Mesh) -> None:
    async with gateway(mesh, GatewayOptions(max_body=1_000_000)) as web:
        address = httpx.URL(web.base_url)
        for head in ("content-length: 104857600", "content-length: " + "9" * 15):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(f"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n{{".encode())
            assert b"413" in await reader.readline()
            assert b"body-too-large" in await reader.read(-1)
            writer.close()

        async def endless() -> AsyncIterator[bytes]:
            yield b'{"input": "'
            while True:
                yield b"x" * 65_536

        with pytest.raises((httpx.WriteError, httpx.ReadError, AssertionError)) as refused:
            raise AssertionError((await web.post("/v1/runs", content=endless())).status_code)
        assert not isinstance(refused.value, AssertionError) or refused.value.args == (413,)
        assert (await web.get("/healthz")).status_code == 200


async def test_a_large_body_within_the_limit_is_read_while_others_are_served(embedded: httpx.AsyncClient) -> None:
    values = [{"lane": "data", "value": list(range(1_000))} for _ in range(200)]
    started = asyncio.create_task(embedded.post("/v1/validate", json={"pipeline": {"components": values}}))

    while not started.done():
        assert (await embedded.get("/healthz")).status_code == 200
    assert started.result().status_code == 200


@pytest.mark.waits
async def test_slow_bodies_end_and_so_do_slow_heads(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with gateway(mesh, GatewayOptions(body_seconds=0.2)) as web:
        address = httpx.URL(web.base_url)
        head = b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
        for sent, status in ((head + b'{"pipe', b"408"), (head[:30], b""), (b"", b"")):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(-1), 20)
            assert answer[9:12] == status
            assert b"body-timeout" in answer or not status
            writer.close()
        assert (await web.get("/v1/runs")).status_code == 200


@pytest.mark.parametrize("sent", [b"hello", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"])
async def test_what_is_no_request_is_answered_with_a_problem(mesh: Mesh, sent: bytes) -> None:
    async with gateway(mesh) as web:
        address = web.base_url
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(sent + b"\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["title"] == "bad-request"


LINE = b"POST /v1/validate HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = LINE + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        LINE + b"x-long: " + b"x" * 20_000 + b"\r\n\r\n",
        LINE + b"x: y\r\n" * 4_000 + b"\r\n",
        LINE + b"x-endless: " + b"x" * 40_000,
        CHUNKED + b"no size\r\n",
        LINE + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        LINE + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        LINE + b"content-length: -1\r\n\r\n",
    ],
)
async def test_what_is_too_large_beside_a_body_or_ambiguous_is_refused(mesh: Mesh, sent: bytes) -> None:
    async with gateway(mesh) as web:
        reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
        writer.write(sent)
        received = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert received.startswith(b"HTTP/1.1 400 ")
        assert (await web.get("/healthz")).status_code == 200


@pytest.mark.parametrize("sent", [LINE + b"x: ", CHUNKED + b"2;", CHUNKED + b"2\r\n{}\r\n0\r\nx: "])
async def test_what_never_ends_beside_a_body_ends_the_connection(mesh: Mesh, sent: bytes) -> None:
    async with gateway(mesh) as web:
        _, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
        writer.write(sent)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_write_for_ever(writer), 20)
        assert (await web.get("/healthz")).status_code == 200


async def test_trailers_are_not_taken_for_headers(mesh: Mesh) -> None:
    async with gateway(mesh) as web:
        reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
        body = b'{"pipeline": {"components": []}}'
        writer.write(CHUNKED + b"%x\r\n%s\r\n0\r\nhost: other\r\n\r\n" % (len(body), body))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert b'{"status":"ok"}' in await reader.read()
        writer.close()


async def test_few_requests_wait_for_the_response_before_them(mesh: Mesh) -> None:
    one = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    async with gateway(mesh) as web:
        for count, answered in ((protocol.MAX_PIPELINED + 1, True), (10_000, False)):
            reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
            writer.write(one * count)
            if answered:
                for _ in range(count):
                    await reader.readuntil(b'{"status":"ok"}')
            else:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await reader.readexactly(len(one) * count)
            writer.close()


async def test_garbage_after_a_request_does_not_enter_its_response(mesh: Mesh) -> None:
    async with gateway(mesh) as web:
        started = await web.post("/v1/runs", json={"pipeline": TAG, "open_input": True})
        path = started.headers["location"]
        reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
        writer.write(f"GET {path}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        await reader.readuntil(b'"state":"running"')
        writer.write(b"\x00garbage\r\n\r\n")
        assert b"HTTP/1.1" not in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert (await web.post(f"{path}/cancel", json={})).status_code == 200


async def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing(mesh: Mesh) -> None:
    async with gateway(mesh, GatewayOptions(max_requests_per_token=1)) as web:
        address = httpx.URL(web.base_url)
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

        async def served() -> bool:
            return (await web.get("/v1/servers")).status_code == 200

        await eventually(served)


async def test_an_owned_run_that_cannot_start_is_a_problem_and_no_stream(web: httpx.AsyncClient) -> None:
    body = {"pipeline": {"components": []}, "detached": False}
    answer = await web.post("/v1/runs", json=body, headers=EVENTS)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    with_input = {"pipeline": TAG, "detached": False, "open_input": True}
    assert (await web.post("/v1/runs", json=with_input, headers=EVENTS)).status_code == 400


async def test_half_of_a_surrogate_pair_from_a_tool_reaches_the_client(mesh: Mesh) -> None:
    from lanemesh_orchestrator.gateway.json_response import json_bytes

    assert json.loads(json_bytes({"a": "\ud800é"})) == {"a": "\ud800é"}


async def _write_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def _whole(web: httpx.AsyncClient, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of the response to a request of HTTP/1.0: all until the end of the connection."""
    reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.lower(), body


async def test_a_client_of_http_1_0_gets_bodies_without_chunks(mesh: Mesh) -> None:
    run = json.dumps({"pipeline": TAG, "input": "hello"}).encode()
    post = (
        b"POST /v1/runs HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    )
    async with gateway(mesh) as web:
        head, body = await _whole(web, post % (len(run), run))
        assert b"content-length" in head
        path = f"/v1/runs/{json.loads(body)['run_id']}/events".encode()
        head, events = await _whole(web, b"GET %s HTTP/1.0\r\nhost: localhost\r\n\r\n" % path)
        assert b"transfer-encoding" not in head
        assert b"content-type: text/event-stream" in head
        assert b'"state":"completed"' in events
        chunked = await web.get(path.decode())  # an HTTP/1.1 client gets the same body in chunks
        assert chunked.headers["transfer-encoding"] == "chunked"
        assert chunked.content == events
