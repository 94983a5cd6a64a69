"""Webhooks: every type in and out, forms, limits, signatures, idempotency keys, failures, and clients that are gone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from lanemesh import Client, Image, Mesh
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2, run_pb2_grpc
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.gateways import EVENTS, events, gateway, gateway_at, texts
from rigs.runs import NODES, node, pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
OPTIONS = GatewayOptions(
    rate=1_000_000.0,
    max_body=64 * 1024,
    max_upload=48 * 1024 * 1024,
    max_answer=60 * 1024 * 1024,
    webhook_secrets={"signed": SECRET},
)
LANES = ("text", "data", "questions", "image", "audio", "video", "documents")
PNG = {"content-type": "image/png"}
JSON = {"accept": "application/json"}
ASYNC = {"prefer": "respond-async"}


def echo(*lanes: str, source: str = "webhook") -> dict[str, Any]:
    """Delivers what enters by each of these lanes, to a target each."""
    edges = [(lane, [{"lane": lane, "from": "in"}]) for lane in lanes]
    targets = [{"id": lane, "provider": "response", "config": {"lane": lane}, "input": edge} for lane, edge in edges]
    return pipeline({"id": "in", "provider": source}, *targets)


def through(provider: str, **config: Any) -> dict[str, Any]:
    """A text through a node."""
    middle = node("a", provider, "in", **config)
    return pipeline({"id": "in", "provider": "webhook"}, middle, node("out", "response", "a", lane="text"))


DEPLOYED = {
    **{lane: echo(lane) for lane in LANES},
    "all": echo("text", "data", "image"),
    "signed": echo("text"),
    "chat": echo("text", source="chat"),
    "files": echo("image", "text", source="dropper"),
    "tag": through("tag", mark="+"),
    "hangs": through("hang"),
    "fails": through("fail_sync"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hooks(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway to a mesh with deployed pipelines."""
    for name, document in DEPLOYED.items():
        await mesh.deploy(name, document)
    async with gateway(mesh, OPTIONS) as client:
        yield client
    for name in DEPLOYED:
        await mesh.undeploy(name)


def problem(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    found: dict[str, Any] = response.json()
    assert (response.status_code, found["title"]) == (status, reason), found
    return found


@pytest.mark.parametrize("name", ["text", "documents", "chat"])
async def test_a_text_enters_as_text(hooks: httpx.AsyncClient, name: str) -> None:
    response = await hooks.post(
        f"/hooks/{name}", content="grüße".encode("latin-1"), headers={"content-type": "text/plain; charset=iso-8859-1"}
    )
    assert response.status_code == 200, response.text
    found = response.json()["content"] if name == "documents" else response.text
    assert found == "grüße"


async def test_a_text_is_a_question_if_only_questions_are_connected(hooks: httpx.AsyncClient) -> None:
    response = await hooks.post("/hooks/questions", content="why?", headers={"content-type": "text/markdown"})
    assert response.json() == {"text": "why?"}
    given = {"text": "why?", "history": [{"role": "user", "content": "a"}]}
    headers = {"content-type": "application/vnd.lanemesh.question+json"}
    response = await hooks.post("/hooks/questions", content=json.dumps(given), headers=headers)
    assert response.json() == given
    response = await hooks.post("/hooks/questions", content='{"txt": 1}', headers=headers)
    assert problem(response, 400, "missing-field")["errors"]


async def test_json_enters_as_data_and_leaves_as_it_entered(hooks: httpx.AsyncClient) -> None:
    for value in ({"lane": "text", "value": [1, None]}, [1.5, "x"], "text", 7):
        response = await hooks.post("/hooks/data", json=value)
        assert (response.json(), response.headers["content-type"]) == (value, "application/json")
    typed = {"content-type": "application/vnd.github+json; charset=utf-8"}
    assert (await hooks.post("/hooks/data", content="[]", headers=typed)).json() == []
    for half in ('{"a":', ""):
        response = await hooks.post("/hooks/data", content=half, headers={"content-type": "application/json"})
        problem(response, 400, "not-json")


@pytest.mark.parametrize(("name", "kind"), [("image", "image/png"), ("audio", "audio/wav"), ("video", "video/mp4")])
async def test_media_enter_and_leave_with_their_type(hooks: httpx.AsyncClient, name: str, kind: str) -> None:
    response = await hooks.post(f"/hooks/{name}", content=b"\x00\xff" * 9, headers={"content-type": kind})
    assert (response.content, response.headers["content-type"]) == (b"\x00\xff" * 9, kind)
    assert response.headers["content-security-policy"].startswith("sandbox")
    response = await hooks.post(f"/hooks/{name}", content=b"ab", headers={"content-type": kind, **JSON})
    assert (response.json()["mime_type"], base64.b64decode(response.json()["content"])) == (kind, b"ab")
    response = await hooks.post(f"/hooks/{name}", content=b"", headers={"content-type": kind})
    problem(response, 400, "bad-request")


async def test_several_targets_are_an_object_by_component(hooks: httpx.AsyncClient) -> None:
    response = await hooks.post("/hooks/all", content="a", headers={"content-type": "text/plain"})
    assert response.json() == {"text": "a", "data": None, "image": None}
    response = await hooks.post(
        "/hooks/all", content="a", headers={"content-type": "text/plain", "accept": "image/png"}
    )
    problem(response, 406, "not-acceptable")


async def test_accept_selects_json_for_a_text(hooks: httpx.AsyncClient) -> None:
    sent = {"content-type": "text/plain"}
    assert (await hooks.post("/hooks/text", content="a", headers=sent)).headers["content-type"].startswith("text/plain")
    assert (await hooks.post("/hooks/text", content="a", headers=sent | JSON)).json() == "a"
    weighed = sent | {"accept": "text/plain;q=0.2, application/json;q=0.9"}
    assert (await hooks.post("/hooks/text", content="a", headers=weighed)).json() == "a"


async def test_an_empty_body_is_an_empty_text_or_no_input(hooks: httpx.AsyncClient) -> None:
    response = await hooks.post("/hooks/text", content=b"", headers={"content-type": "text/plain"})
    assert (response.status_code, response.text) == (200, "")
    assert (await hooks.post("/hooks/text")).status_code == 204


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("text", "image/png"),
        ("text", "application/json"),
        ("image", "text/plain"),
        ("data", "application/zip"),
        ("text", ""),
        ("text", "%%"),
    ],
)
async def test_a_type_that_no_connected_output_carries_is_415(hooks: httpx.AsyncClient, name: str, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    response = await hooks.post(f"/hooks/{name}", content=b"x", headers=headers)
    detail = problem(response, 415, "unsupported-type")["detail"]
    assert {"text": "text", "image": "image/*", "data": "application/json"}[name] in detail


async def test_a_form_is_one_input_per_part(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    files = [
        ("a", ("../../etc/pass\u200bwd\u202e.png", b"\x89PNG", "image/png")),
        ("b", ("notes.md", b"# hi", "application/octet-stream")),
        ("c", ("C:\\x\\y.json", b"[1]", "application/json")),
    ]
    response = await hooks.post("/hooks/all", data={"field": "value"}, files=files, headers=ASYNC)
    outputs = await mesh.attach(response.json()["run_id"]).outputs().all()
    found = [(one.component, (one.metadata or {}).get("file_name", "")) for one in outputs]
    assert sorted(found) == [("data", "y.json"), ("image", "passwd.png"), ("text", ""), ("text", "notes.md")]


async def test_several_values_of_a_target_are_a_list(hooks: httpx.AsyncClient) -> None:
    files = [("f", ("a.json", b"[1]")), ("f", ("b.json", b"null")), ("f", ("c.json", b'"x"'))]
    assert (await hooks.post("/hooks/data", files=files)).json() == [[1], None, "x"]
    images = [("f", (f"{number}.png", b"%d" % number)) for number in range(2)]
    found = (await hooks.post("/hooks/image", files=images)).json()
    assert [base64.b64decode(one["content"]) for one in found] == [b"0", b"1"]
    response = await hooks.post("/hooks/image", files=images, headers={"accept": "image/*"})
    problem(response, 406, "not-acceptable")


async def test_an_input_that_no_connected_output_carries_fails_the_run(mesh: Mesh) -> None:
    for source, given, connected in (
        ("webhook", 1, "text"),
        ("webhook", "a", "data"),
        ("file", Image("image/png", b"a"), "text"),
    ):
        result = await mesh.run(echo(connected, source=source), input=given).result()
        assert result.error is not None
        assert f"connected is {connected}." in result.error.message


async def test_files_are_dropped_as_a_form(hooks: httpx.AsyncClient) -> None:
    response = await hooks.post("/hooks/files", files={"f": ("a.png", b"\x89", "image/png")})
    assert response.json()["image"]["mime_type"] == "image/png"
    response = await hooks.post("/hooks/files", files={"f": ("a.zip", b"PK", "application/zip")})
    assert "image/*" in problem(response, 415, "unsupported-type")["detail"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nhalf'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x\r\n\x00: "),
        ("multipart/form-data; boundary=x", b"no form"),
    ],
)
async def test_half_a_form_is_an_error(
    hooks: httpx.AsyncClient, kind: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    response = await hooks.post("/hooks/all", content=content, headers={"content-type": kind})
    problem(response, 400, "bad-request")
    assert [record for record in caplog.records if record.name.startswith("python_multipart")] == []


async def test_bodies_are_limited(hooks: httpx.AsyncClient) -> None:
    response = await hooks.post("/hooks/text", content=b"x" * 70_000, headers={"content-type": "text/plain"})
    problem(response, 413, "body-too-large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(49):
            yield bytes(1024 * 1024)

    for headers in (PNG, PNG | ASYNC):
        response = await hooks.post("/hooks/image", content=endless(), headers=headers)
        problem(response, 413, "body-too-large")


async def test_large_media_enter_in_pieces_and_leave_whole(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    content = bytes(range(256)) * (9 * 4096)
    response = await hooks.post("/hooks/image", content=content, headers=PNG)
    assert (response.content == content, response.headers["content-type"]) == (True, "image/png")
    response = await hooks.post("/hooks/image", content=content, headers=PNG | ASYNC)
    outputs = await mesh.attach(response.json()["run_id"]).outputs().all()
    assert {len(one.value.content) for one in outputs} == {1024 * 1024}
    assert [one.group.index for one in outputs if one.group] == list(range(9))
    assert [one.group.last for one in outputs if one.group] == [False] * 8 + [True]


async def test_the_answer_is_limited(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    async with gateway(mesh, GatewayOptions(max_answer=10)) as small:
        response = await small.post("/hooks/text", content="more than ten", headers={"content-type": "text/plain"})
        found = problem(response, 502, "answer-too-large")
    assert "so it was cancelled" in found["detail"]
    assert found["run_id"] == response.headers["lanemesh-run"]


async def test_a_run_of_a_key_goes_on_if_it_delivers_more_than_an_answer_has(
    hooks: httpx.AsyncClient, mesh: Mesh
) -> None:
    keyed = {"content-type": "text/plain", "idempotency-key": "large"}
    async with gateway(mesh, GatewayOptions(max_answer=1)) as small:
        response = await small.post("/hooks/hangs", content="a", headers=keyed)
        found = problem(response, 502, "answer-too-large")
        run_id = found["run_id"]
        assert "It was not cancelled" in found["detail"]
        assert f"GET /v1/runs/{run_id}/events" in found["detail"]
        assert (await mesh.record(run_id)).state == "running"

        async with small.stream("POST", "/hooks/hangs", content="a", headers=keyed | EVENTS) as response:
            assert response.headers["location"] == f"/v1/runs/{run_id}"
            outputs = (one.data["value"] async for one in events(response) if one.data["update"] == "output")
            assert await anext(outputs) == "begun"
    run = mesh.attach(run_id)
    await run.cancel()
    assert (await run.result()).state == "cancelled"


async def test_async_requests_are_answered_with_the_run(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    response = await hooks.post(
        "/hooks/tag", content="a", headers={"content-type": "text/plain", "prefer": "wait=5, Respond-Async"}
    )
    run_id = response.json()["run_id"]
    assert (response.status_code, response.headers["location"]) == (202, f"/v1/runs/{run_id}")
    assert response.headers["preference-applied"] == "respond-async"
    assert await mesh.attach(run_id).text() == "+a"


async def test_events_are_those_of_the_run(hooks: httpx.AsyncClient) -> None:
    headers = {"content-type": "text/plain", **EVENTS}
    async with hooks.stream("POST", "/hooks/tag", content="a", headers=headers) as response:
        found = [event async for event in events(response)]
    assert (texts(found), found[-1].data["state"]) == (["+a"], "completed")


async def test_a_failed_run_is_502_with_its_cause(hooks: httpx.AsyncClient) -> None:
    response = await hooks.post("/hooks/fails", content="a", headers={"content-type": "text/plain"})
    found = problem(response, 502, "node-error")
    assert (found["component"], found["run_id"]) == ("a", response.headers["lanemesh-run"])


async def test_an_unknown_deployment_is_404(hooks: httpx.AsyncClient) -> None:
    for name in ("nothing", "signed:1", "@text"):
        response = await hooks.post(f"/hooks/{name}", content="a", headers={"content-type": "text/plain"})
        assert (response.status_code, response.json()["title"]) in [(404, "unknown-deployment"), (400, "bad-name")]


async def test_a_client_that_is_gone_cancels_its_run(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    asking = asyncio.create_task(hooks.post("/hooks/hangs", content="a", headers={"content-type": "text/plain"}))
    run_id = await started(mesh, "hangs")
    asking.cancel()
    assert (await mesh.attach(run_id).result()).state == "cancelled"


async def test_the_run_of_a_key_continues_without_its_client(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    sent = {"content-type": "text/plain", "idempotency-key": "lasting"}
    asking = asyncio.create_task(hooks.post("/hooks/hangs", content="a", headers=sent))
    run_id = await started(mesh, "hangs")
    asking.cancel()
    response = await hooks.post("/hooks/hangs", content="a", headers=sent | ASYNC)
    assert response.json()["run_id"] == run_id
    assert (await mesh.record(run_id)).state == "running"
    await mesh.attach(run_id).cancel()
    response = await hooks.post("/hooks/hangs", content="a", headers=sent)
    assert problem(response, 502, "cancelled")["run_id"] == run_id


async def test_a_client_that_leaves_the_events_cancels_its_run(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    headers = {"content-type": "text/plain", **EVENTS}
    async with hooks.stream("POST", "/hooks/hangs", content="a", headers=headers) as response:
        run_id = response.headers["location"].rpartition("/")[2]
    assert (await mesh.attach(run_id).result()).state == "cancelled"


async def test_an_upload_that_is_cut_cancels_its_run(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    begun = asyncio.Event()

    async def cut() -> AsyncIterator[bytes]:
        yield bytes(9 * 1024 * 1024)
        await started(mesh, "video")
        begun.set()
        await asyncio.Event().wait()

    posting = asyncio.create_task(hooks.post("/hooks/video", content=cut(), headers={"content-type": "video/mp4"}))
    await begun.wait()
    run_id = await started(mesh, "video")
    posting.cancel()
    assert (await mesh.attach(run_id).result()).state == "cancelled"


async def started(mesh: Mesh, deployment: str) -> str:
    """The active run of a deployment, when there is one."""
    async with asyncio.timeout(20):
        while True:
            found = await mesh.runs(deployment=deployment, states=["running"])
            if found:
                return found[0].run_id
            await asyncio.sleep(0.01)


def github(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def standard(body: bytes, age: float = 0.0, key: bytes = b"0123456789abcdef") -> dict[str, str]:
    sent = str(int(time.time() - age))
    digest = hmac.new(key, f"m1.{sent}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,bad v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "m1", "webhook-timestamp": sent, "webhook-signature": signature}


@pytest.mark.parametrize("signed", [github, standard])
async def test_a_signed_body_needs_no_token(
    mesh: Mesh, hooks: httpx.AsyncClient, signed: Callable[[bytes], dict[str, str]]
) -> None:
    headers = signed(b"a")
    plain = {"content-type": "text/plain"}
    options = GatewayOptions(token="t0ken", webhook_secrets={"signed": SECRET})
    async with gateway(mesh, options) as client:
        assert (await client.post("/hooks/signed", content="a", headers=headers | plain)).text == "a"
        problem(await client.post("/hooks/signed", content="b", headers=headers | plain), 401, "bad-signature")
        problem(await client.post("/hooks/text", content="a", headers=headers | plain), 401, "unauthorized")


async def test_a_session_is_that_of_requests_without_a_signature_alone(hooks: httpx.AsyncClient, mesh: Mesh) -> None:
    sent = {"content-type": "text/plain", "lanemesh-session": "session-of-a-webhook"}
    assert (await hooks.post("/hooks/signed", content="a", headers=sent | github(b"a"))).text == "a"
    assert await mesh.sessions("signed") == []
    assert (await hooks.post("/hooks/chat", content="a", headers=sent)).text == "a"
    assert [one.id for one in await mesh.sessions("chat")] == ["session-of-a-webhook"]


@pytest.mark.parametrize(
    "signed",
    [
        dict,
        lambda: {"authorization": "Bearer x"},
        lambda: github(b"a", "other"),
        lambda: {"x-hub-signature-256": "sha256="},
        lambda: {"x-hub-signature-256": "sha256=ü".encode().decode("latin-1")},
        lambda: standard(b"a", 301),
        lambda: standard(b"a", -330),
        lambda: standard(b"a", key=b"other"),
        lambda: {**standard(b"a"), "webhook-timestamp": "soon"},
        lambda: {name: value for name, value in standard(b"a").items() if name != "webhook-id"},
    ],
)
async def test_a_wrong_signature_starts_nothing(
    hooks: httpx.AsyncClient, mesh: Mesh, signed: Callable[[], dict[str, str]]
) -> None:
    headers = signed()  # now: a signature is valid for five minutes
    before = len(await mesh.runs(deployment="signed"))
    sent = headers | {"content-type": "text/plain"}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    response = await hooks.post("/hooks/signed", content="a", headers=encoded)
    problem(response, 401, "bad-signature")
    assert len(await mesh.runs(deployment="signed")) == before


async def test_a_key_gives_one_run_over_two_gateways(serving: Orchestrator) -> None:
    keyed = {"content-type": "text/plain", "idempotency-key": "k1"}
    async with (
        Client(serving.address) as one,
        Client(serving.address) as two,
        gateway(one) as first,
        gateway(two) as second,
    ):
        await one.deploy("tag", DEPLOYED["tag"])
        posts = [web.post("/hooks/tag", content="a", headers=keyed | ASYNC) for web in (first, second) * 5]
        answers = await asyncio.gather(*posts)
        assert len({answer.json()["run_id"] for answer in answers}) == 1
        found = await second.post("/hooks/tag", content="a", headers=keyed)
        assert (found.text, found.headers["lanemesh-run"]) == ("+a", answers[0].json()["run_id"])
        assert len(await one.runs(deployment="tag")) == 1
        async with first.stream("POST", "/hooks/tag", content="a", headers=keyed | EVENTS) as response:
            assert texts([event async for event in events(response)]) == ["+a"]
        other = await second.post("/hooks/tag", content="b", headers=keyed)
        problem(other, 409, "idempotency-conflict")
        long = await second.post("/hooks/tag", content="b", headers=keyed | {"idempotency-key": "k" * 129})
        problem(long, 400, "bad-idempotency-key")
        await one.undeploy("tag")


async def test_a_key_is_for_detached_runs_of_one_pipeline(mesh: Mesh, serving: Orchestrator) -> None:
    async with Client(serving.address) as client:
        for host in (mesh, client):
            run = await host.start(DEPLOYED["tag"], input="a", idempotency_key="k2")
            assert (await host.start(DEPLOYED["tag"], input="a", idempotency_key="k2")).id == run.id
            for other in (DEPLOYED["text"], {**DEPLOYED["tag"], "name": "other"}):
                with pytest.raises(LanemeshError, match="idempotency key is that of run") as caught:
                    await host.start(other, input="a", idempotency_key="k2")
                assert caught.value.fault.reason == "idempotency-conflict"
            with pytest.raises(LanemeshError, match="1 to 128 printable"):
                await host.start(DEPLOYED["tag"], input="a", idempotency_key="a\nb")
            assert await run.text() == "+a"


async def test_a_key_is_free_when_its_run_is_no_longer_kept() -> None:
    async with Mesh(nodes=[NODES]) as mesh:
        first = await mesh.start(DEPLOYED["tag"], input="a", idempotency_key="k")
        await first.result()
        mesh.orchestrator.runs.find(first.id).log.discard()  # type: ignore[union-attr]
        mesh.orchestrator.runs._forget(first.id)
        second = await mesh.start(DEPLOYED["tag"], input="b", idempotency_key="k")
        assert (second.id != first.id, await second.text()) == (True, "+b")


async def test_a_run_of_its_caller_has_no_key(serving: Orchestrator) -> None:
    spec = run_pb2.RunSpec(pipeline_json=json.dumps(DEPLOYED["tag"]), idempotency_key="k")
    async with grpc.aio.insecure_channel(serving.address) as channel:
        call = run_pb2_grpc.RunServiceStub(channel).Run(iter([run_pb2.RunRequest(spec=spec)]))
        with pytest.raises(grpc.aio.AioRpcError, match="detached"):
            async for _ in call:
                pass


@pytest.mark.parametrize("header", ["accept: */*", "prefer: respond-async", "idempotency-key: k3"])
async def test_a_body_that_pauses_is_408(hooks: httpx.AsyncClient, mesh: Mesh, header: str) -> None:
    head = f"POST /hooks/image HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\n{header}\r\ncontent-length: 9\r\n\r\na"
    async with gateway_at(mesh, GatewayOptions(body_seconds=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(head.encode())
        assert (await reader.readline()).split()[1] == b"408"
        assert b"body-timeout" in await reader.readuntil(b"}")
        writer.close()
        await writer.wait_closed()


@pytest.mark.timing
async def test_an_upload_of_40_mb_does_not_stay_in_memory(serving: Orchestrator, tmp_path: Path) -> None:
    program = "import sys, lanemesh_orchestrator.cli as cli; sys.exit(cli.app())"
    secrets = tmp_path / "secrets"
    secrets.write_text(f"signed={SECRET}\n")
    words = ("gateway", "--mesh", serving.address, "--http", "0", "--webhook-secrets", str(secrets))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *words, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        url = (await process.stderr.readline()).decode().split()[-1]
        async with Client(serving.address) as client, httpx.AsyncClient(base_url=url, timeout=60) as web:
            problem(await web.post("/hooks/signed", content="a"), 401, "bad-signature")
            await client.deploy("large", echo("video"))
            sent = {"content-type": "video/mp4", **ASYNC}
            first = await web.post("/hooks/large", content=bytes(1024 * 1024), headers=sent)
            before = peak(process.pid)
            response = await web.post("/hooks/large", content=zeros(40), headers=sent)
            grown = peak(process.pid) - before
            outputs = await client.attach(response.json()["run_id"]).outputs().all()
            assert (first.status_code, sum(len(one.value.content) for one in outputs)) == (202, 40 * 1024 * 1024)
            assert grown < 16 * 1024 * 1024
            await client.undeploy("large")
    finally:
        process.terminate()
        await process.communicate()


async def zeros(mebibytes: int) -> AsyncIterator[bytes]:
    for _ in range(mebibytes):
        yield bytes(1024 * 1024)


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
