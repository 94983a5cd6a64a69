"""An A2A server before a mesh: large tasks, clients that leave, and tasks whose updates are no longer kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from a2a.types import a2a_pb2
from a2a.utils.constants import TransportProtocol
from lanemesh import Client
from lanemesh_orchestrator.a2a_server import server as a2a_server
from lanemesh_orchestrator.a2a_server.artifacts import OMITTED_BYTES, within
from lanemesh_orchestrator.a2a_server.contents import MISSED_UPDATES, OMITTED_OUTPUTS, TaskContents

from rigs.a2a_mesh import GATED, agent, in_process, message, texts
from rigs.mcp_mesh import content

MIB = 1024 * 1024
WORKING, COMPLETED = a2a_pb2.TASK_STATE_WORKING, a2a_pb2.TASK_STATE_COMPLETED
PIPELINES = {
    "gated": GATED,
    "large": content(*[{"characters": 3_000_000}] * 7),
    "single": content({"characters": 9_000_000}),
    "medium": content({"characters": 1_500_000}),
}


@pytest.fixture(params=["JSONRPC", "GRPC"])
def binding(request: pytest.FixtureRequest) -> str:
    return TransportProtocol(request.param).value


def number(metadata: Any, key: str) -> int:
    """A number in the metadata of a task or a part."""
    return int(metadata[key])


async def test_a_task_beyond_the_limit_is_marked(binding: str) -> None:
    kept = 5 if binding == "JSONRPC" else 1
    async with in_process(PIPELINES) as (url, _), agent(url, "large", binding, streaming=False) as client:
        (answer,) = [event async for event in client.send_message(message("go"))]
        got = await client.get_task(a2a_pb2.GetTaskRequest(id=answer.task.id))
        listed = await client.list_tasks(a2a_pb2.ListTasksRequest(include_artifacts=True))
        for task in (answer.task, got, listed.tasks[0]):
            assert task.status.state == COMPLETED
            assert list(map(len, texts(task))) == [3_000_000] * kept
            assert number(task.metadata, OMITTED_OUTPUTS) == 7 - kept
            assert number(task.metadata, OMITTED_BYTES) >= (7 - kept) * 3_000_000


async def test_pages_of_large_tasks_end_within_a_message(binding: str) -> None:
    async with in_process(PIPELINES) as (url, _), agent(url, "medium", binding, streaming=False) as client:
        sent = [(await anext(client.send_message(message("go")))).task.id for _ in range(5)]
        request, found, pages = a2a_pb2.ListTasksRequest(include_artifacts=True), [], 0
        while pages == 0 or request.page_token:
            page = await client.list_tasks(request)
            found += [(task.id, len(texts(task)[0])) for task in page.tasks]
            assert page.total_size == 5
            request.page_token, pages = page.next_page_token, pages + 1
    assert found == [(task_id, 1_500_000) for task_id in reversed(sent)]
    assert pages == (1 if binding == "JSONRPC" else 3)


async def test_a_large_text_is_streamed_in_chunks(binding: str) -> None:
    async with in_process(PIPELINES) as (url, _), agent(url, "single", binding) as client:
        events = [event async for event in client.send_message(message("go"))]
    updates = [event.artifact_update for event in events if event.HasField("artifact_update")]
    assert sum(len(update.artifact.parts[0].text) for update in updates) == 9_000_000
    assert {update.artifact.artifact_id for update in updates} == {updates[0].artifact.artifact_id}
    assert [update.append for update in updates] == [False] + [True] * (len(updates) - 1)
    assert [update.last_chunk for update in updates] == [False] * (len(updates) - 1) + [True]


def test_a_large_file_is_left_out_of_a_stream() -> None:
    event = a2a_pb2.TaskArtifactUpdateEvent(task_id="run-1")
    event.artifact.parts.add(raw=b"x" * 1_000, media_type="image/png")
    (left,) = within(event, 500)
    assert "`lanemesh show run-1` has it" in left.artifact.parts[0].text
    assert number(left.artifact.parts[0].metadata, OMITTED_BYTES) >= 1_000


@pytest.mark.timeout(60)  # much longer, if each piece copies the text before it
def test_a_text_is_collected_from_any_number_of_pieces() -> None:
    contents = TaskContents("run-1", "context")
    for number in range(50_000):
        event = a2a_pb2.TaskArtifactUpdateEvent(append=number > 0)
        event.artifact.artifact_id = "out.text.1"
        event.artifact.parts.add(text=f"{number:>90}")
        contents.add(event)
    (text,) = texts(contents.task(16 * MIB))
    assert text == "".join(f"{number:>90}" for number in range(50_000))


async def test_a_task_is_shown_without_the_updates_that_are_no_longer_kept(binding: str) -> None:
    pipelines = {"waits": content(*[{"characters": 400_000}] * 8, {"wait": 1})}
    async with in_process(pipelines, run_memory=MIB) as (url, mesh), agent(url, "waits", binding) as client:
        stream = client.send_message(message("go"))
        task_id = (await anext(stream)).task.id
        async with asyncio.timeout(60):
            while (await mesh.record(task_id)).output_count < 8:  # noqa: ASYNC110 - this reader may fall behind
                await asyncio.sleep(0.01)
            got = await client.get_task(a2a_pb2.GetTaskRequest(id=task_id))
            subscription = client.subscribe(a2a_pb2.SubscribeToTaskRequest(id=task_id))
            begun = (await anext(subscription)).task
            for task in (got, begun):
                assert task.status.state == WORKING
                assert number(task.metadata, MISSED_UPDATES) >= 1
                assert set(map(len, texts(task))) == {400_000}
            await client.cancel_task(a2a_pb2.CancelTaskRequest(id=task_id))
            end = [event async for event in subscription][-1]
        assert end.status_update.status.state == a2a_pb2.TASK_STATE_CANCELED


async def test_a_task_that_is_got_again_is_read_from_there(binding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_process(PIPELINES) as (url, mesh), agent(url, "gated", binding) as client:
        stream = client.send_message(message("a b"))
        task_id = (await anext(stream)).task.id
        assert (await anext(stream)).artifact_update.artifact.parts[0].text == "a"
        first = await client.get_task(a2a_pb2.GetTaskRequest(id=task_id))
        read_from: list[int] = []
        attach = Client.attach

        def attached(self: Client, run_id: str, from_sequence: int = 1) -> Any:
            read_from.append(from_sequence)
            return attach(self, run_id, from_sequence)

        monkeypatch.setattr(Client, "attach", attached)
        await mesh.channels(task_id).publish("gate", "b")
        assert [event async for event in stream][-1].status_update.status.state == COMPLETED
        second = await client.get_task(a2a_pb2.GetTaskRequest(id=task_id))
    assert (first.status.state, texts(first)) == (WORKING, ["a"])
    assert (second.status.state, texts(second)) == (COMPLETED, ["a", "b"])
    (start,) = read_from
    assert start > 1


async def test_a_run_whose_client_leaves_before_it_has_the_task_is_cancelled(binding: str) -> None:
    async with in_process(PIPELINES) as (url, mesh), agent(url, "gated", binding, streaming=False) as client:

        async def send() -> None:
            async for _ in client.send_message(message("a b")):
                pass

        sending = asyncio.create_task(send())
        async with asyncio.timeout(60):
            while not (records := await mesh.runs(deployment="gated")):  # noqa: ASYNC110 - nothing reports it
                await asyncio.sleep(0.01)
            sending.cancel()
            await asyncio.wait([sending])
            result = await mesh.attach(records[0].run_id).result()
    assert (result.state, result.reason) == ("cancelled", "its A2A client left before it had the task")


SEND = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "SendMessage",
    "params": {"message": {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "go"}]}},
}
VERSION = {"A2A-Version": "1.0"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example", "origin": "https://evil.example"}, 421),
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({}, 200),
    ],
)
async def test_a_page_of_another_site_runs_nothing(headers: dict[str, str], status: int) -> None:
    async with in_process(PIPELINES) as (url, mesh), httpx.AsyncClient(base_url=url, timeout=60) as http:
        answers = [
            await http.post("/single", json=SEND, headers=VERSION | headers),
            await http.get("/", headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [status, status]
        assert len(await mesh.runs()) == (1 if status == 200 else 0)


async def test_with_a_token_the_server_is_reached_by_any_name() -> None:
    async with Client("127.0.0.1:1") as mesh:
        server = a2a_server.A2aServer(mesh, "127.0.0.1", 0, token="secret")
        serving = asyncio.create_task(server.run())
        async with httpx.AsyncClient(base_url=server.url, headers={"host": "agents.example"}, timeout=60) as http:
            refused = await http.post("/agent", json={})
            answered = await http.post("/agent", json={}, headers={"authorization": "Bearer secret"})
        server.close()
        await serving
    assert (refused.status_code, answered.status_code) == (401, 200)


async def test_a_body_is_read_up_to_a_limit_and_within_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a2a_server, "BODY_SECONDS", 0.05)

    async def large() -> AsyncIterator[bytes]:
        for _ in range(24):
            yield bytes(MIB)

    async with in_process({}) as (url, _), httpx.AsyncClient(base_url=url, timeout=60) as http:
        assert (await http.post("/agent", content=bytes(a2a_server.MAX_BODY + 1))).status_code == 413
        assert (await http.post("/agent", content=large())).status_code == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(b"POST /agent HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        assert b" 408 " in await reader.readline()
        writer.close()
