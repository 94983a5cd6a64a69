"""Streams of events: in order, resumed without loss, held by slow readers, ended with their clients."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from lanemesh import Client
from lanemesh.client.run_reader import wire_updates
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway import sse
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.update_json import to_json

from repeats import times
from rigs.gateways import EVENTS, Event, all_events, events, eventually, gateway, gateway_at, texts
from rigs.runs import line, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+"))


def numbers(count: int) -> dict[str, object]:
    """A pipeline that emits numbers as text."""
    return pipeline(node("n", "numbers", count=count), response({"lane": "text", "from": "n", "output": "number"}))


async def start(web: httpx.AsyncClient, document: object, **fields: object) -> str:
    """Starts a run; returns its path."""
    answer = await web.post("/v1/runs", json={"pipeline": document, **fields})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def complete(web: httpx.AsyncClient, path: str, cut: int, after: int) -> list[Event]:
    """The whole events among the first bytes of a stream that is cut then, in the middle of anything."""
    received = b""
    async with web.stream("GET", f"{path}/events", headers={"last-event-id": str(after)}) as answer:
        if answer.status_code == 204:
            return []
        async for piece in answer.aiter_bytes():
            received += piece
            if len(received) >= cut:
                received = received[:cut]
                break
    whole = received[: received.rfind(b"\n\n") + 2]
    return [event async for event in events(httpx.Response(200, headers=sse.HEADERS, content=whole))]


async def test_events_are_the_updates_of_the_run_byte_for_byte(
    web: httpx.AsyncClient, mesh: Mesh, serving: Orchestrator
) -> None:
    path = await start(web, numbers(300))
    found = await all_events(web, f"{path}/events")
    run_id = path.rpartition("/")[2]

    async with Client(serving.address) as client:
        for host in (mesh, client):
            if any(record.run_id == run_id for record in await host.runs()):
                updates = [to_json(update) async for update in wire_updates(host.attach(run_id))]
                assert [event.data for event in found] == updates
                assert [int(event.id) for event in found] == [update["sequence"] for update in updates]
                return
    raise AssertionError("neither knows the run")


@pytest.mark.many
async def test_many_cuts_in_the_middle_of_anything_lose_and_repeat_nothing(web: httpx.AsyncClient) -> None:
    count = times(2_000, 400)
    path = await start(web, numbers(count))
    dice, cuts = random.Random(1), 0
    seen: list[Event] = []
    while not seen or seen[-1].data.get("state") not in ("completed", "failed"):
        seen += await complete(web, path, dice.randrange(1, 6_000), int(seen[-1].id) if seen else 0)
        cuts += 1

    assert cuts >= count // 20
    assert [int(event.id) for event in seen] == list(range(1, len(seen) + 1))
    assert texts(seen) == [str(number) for number in range(count)]


async def test_nothing_left_is_no_content(web: httpx.AsyncClient) -> None:
    path = await start(web, TAG, input="x")
    found = await all_events(web, f"{path}/events")
    last = int(found[-1].id)

    rest = await all_events(web, f"{path}/events?after={last - 2}")
    nothing = await web.get(f"{path}/events", headers={"last-event-id": str(last)})
    beyond = await web.get(f"{path}/events?after={last + 100}")

    assert [int(event.id) for event in rest] == [last - 1, last]
    assert (nothing.status_code, nothing.content, beyond.status_code) == (204, b"", 204)


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "9" * 30, "٣"])
async def test_a_number_that_is_none_is_refused(embedded: httpx.AsyncClient, number: str) -> None:
    path = await start(embedded, TAG, input="x")

    answers = [
        await embedded.get(f"{path}/events", params={"after": number}),
        await embedded.get(f"{path}/events", headers={b"last-event-id": number.encode()}),
    ]
    assert [one.status_code for one in answers] == [400, 400]
    assert await embedded.get(f"{path}/events?after=1&before=3") is not None


async def test_updates_that_are_no_longer_kept_are_a_gap(embedded: httpx.AsyncClient) -> None:
    async with Mesh(nodes=["tests/rigs/run_nodes.py"], run_memory=1024 * 1024) as small, gateway(small) as web:
        document = line(node("s", "series", "chat", count=3_000, size=1_000))
        path = await start(web, document, input="x")
        await (small.attach(path.rpartition("/")[2])).result()

        found = await all_events(web, f"{path}/events")

        gaps = [event for event in found if event.name == "gap"]
        assert gaps
        expected = 1
        for event in found:
            if event.name == "gap":
                assert event.data["from"] == expected
                assert event.id == str(event.data["to"])
                expected = event.data["to"] + 1
            else:
                assert int(event.id) == expected
                expected += 1
        assert found[-1].data["state"] == "completed"


async def test_a_silent_stream_is_kept_alive(web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.05)
    path = await start(web, TAG, open_input=True)

    async with web.stream("GET", f"{path}/events") as answer:
        comments = 0
        async for text in answer.aiter_lines():
            comments += text == ": keep-alive"
            if comments == 3:
                break
    await web.post(f"{path}/input", json={"end": True})
    assert (await all_events(web, f"{path}/events"))[-1].data["state"] == "completed"


async def test_a_client_that_leaves_a_detached_run_changes_nothing(web: httpx.AsyncClient) -> None:
    path = await start(web, TAG, open_input=True)
    for _ in range(3):
        async with web.stream("GET", f"{path}/events") as answer:
            assert (await anext(events(answer))).data["state"] == "starting"

    await web.post(f"{path}/input", json={"value": "x", "end": True})

    assert texts(await all_events(web, f"{path}/events")) == ["+x"]


async def test_a_client_that_leaves_an_owned_run_cancels_it(web: httpx.AsyncClient) -> None:
    body = {"pipeline": line(node("a", "hang", "chat")), "input": "x", "detached": False}

    async with web.stream("POST", "/v1/runs", json=body, headers=EVENTS) as answer:
        assert (await anext(events(answer))).data["state"] == "starting"
        path = answer.headers["location"]

    last = (await all_events(web, f"{path}/events"))[-1]
    assert last.data["state"] == "cancelled"


@asynccontextmanager
async def stuck(url: str, request: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """A client that sends a request and reads only what the test reads, with small buffers."""
    address = httpx.URL(url)
    assert address.port is not None
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.connect((address.host, address.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    try:
        writer.write(request)
        await writer.drain()
        yield reader
    finally:
        writer.close()


async def test_a_slow_reader_holds_an_owned_run_and_gets_all_of_it(mesh: Mesh) -> None:
    count = 8_000
    document = line(node("s", "series", "chat", count=count, size=2_000))
    body = json.dumps({"pipeline": document, "input": "x", "detached": False}).encode()
    head = (
        "POST /v1/runs HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode()
    async with gateway_at(mesh) as server, stuck(server.url, head + body) as reader:
        path = (await reader.readuntil(b"\r\n\r\n")).decode().partition("/v1/runs/")[2].partition("\r\n")[0]
        whole, leads, step = bytearray(), list[int](), 1_000_000
        while piece := await reader.read(65_536):
            whole += piece
            if len(whole) > step * (len(leads) + 1):
                leads.append((await mesh.record(path)).output_count - whole.count(b'"update":"output"'))
        assert 0 < max(leads) < count / 2  # a run that is not held makes its outputs faster than this reader takes them
        assert whole.count(b'"update":"output"') == count
        assert (await mesh.record(path)).state == "completed"


async def test_a_client_that_stops_reading_a_detached_run_does_not_hold_it_for_ever(mesh: Mesh) -> None:
    count = 30_000
    path = await mesh.start(line(node("s", "series", "chat", count=count, size=2_000)), input="x")
    request = f"GET /v1/runs/{path.id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    async with gateway_at(mesh) as server, stuck(server.url, request):
        assert (await path.result()).state == "completed"


async def test_channels_of_a_run_and_of_the_mesh_are_streams(web: httpx.AsyncClient) -> None:
    path = await start(web, TAG, open_input=True)
    for channel in (f"{path}/channels/talk", "/v1/channels/mesh:a/b c"):
        async with web.stream("GET", f"{channel}/events") as answer:
            found = events(answer)
            published = await web.post(channel, json={"message": {"n": 1}, "publisher": "bob"})
            assert published.json() == {"subscribers": 1}
            assert (await anext(found)).data == {"publisher": "bob", "message": {"n": 1}}
    refused = await web.post("/v1/channels/other", json={"message": 1})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "/name")
    await web.post(f"{path}/cancel", json={})


async def test_a_subscriber_is_gone_with_its_client(web: httpx.AsyncClient) -> None:
    async with web.stream("GET", "/v1/channels/mesh:gone/events") as answer:
        assert answer.status_code == 200
        assert (await web.post("/v1/channels/mesh:gone", json={"message": 1})).json() == {"subscribers": 1}

    async def gone() -> bool:
        answer = await web.post("/v1/channels/mesh:gone", json={"message": 1})
        return answer.text == '{"subscribers":0}'

    await eventually(gone)


async def test_a_subscriber_that_is_too_slow_is_told_what_it_missed(embedded: httpx.AsyncClient, mesh: Mesh) -> None:
    async with embedded.stream("GET", "/v1/channels/mesh:many/events?limit=1") as answer:
        found = events(answer)
        channels = mesh.channels()
        for number in range(50):  # in one step of the event loop, so that the stream cannot follow
            await channels.publish("mesh:many", number)
        await channels.close("mesh:many")
        got = [event async for event in found]

    missed = sum(event.data["count"] for event in got if event.name == "dropped")
    assert missed + sum(event.name == "message" for event in got) == 50


async def test_streams_leave_no_task_behind(mesh: Mesh) -> None:
    before = len(asyncio.all_tasks())
    async with gateway(mesh) as web:
        path = await start(web, TAG, open_input=True)
        for _ in range(20):
            async with web.stream("GET", f"{path}/events") as answer:
                await anext(events(answer))
        await web.post(f"{path}/cancel", json={})
        await all_events(web, f"{path}/events")

    async def ended() -> bool:
        return len(asyncio.all_tasks()) <= before

    await eventually(ended)


async def test_a_gateway_that_stops_ends_its_streams_at_once(mesh: Mesh) -> None:
    async with gateway(mesh) as web:
        path = await start(web, TAG, open_input=True)
        async with (
            gateway_at(mesh) as other,
            httpx.AsyncClient(base_url=other.url) as leaving,
            leaving.stream("GET", f"{path}/events") as answer,
        ):
            found = events(answer)
            seen = [await anext(found)]
            other.close()
            seen += [event async for event in found]  # the end of the response, without an error
        await web.post(f"{path}/cancel", json={})
        rest = await all_events(web, f"{path}/events", headers={"last-event-id": seen[-1].id})
        assert [int(event.id) for event in seen + rest] == list(range(1, len(seen + rest) + 1))


async def test_the_head_of_a_stream_is_no_stream(web: httpx.AsyncClient) -> None:
    path = await start(web, TAG, open_input=True)
    answer = await web.head(f"{path}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    await web.post(f"{path}/cancel", json={})
