"""The WebSocket: runs, input, approvals, watching, channels, media as binary frames, bad messages, slow and lost clients."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from lanemesh import Client, RunState
from lanemesh.channels.channels import Subscription
from lanemesh.client.runs import Run
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.gateway.websocket import socket as gateway_socket
from lanemesh_orchestrator.gateway.websocket import streams as gateway_streams
from lanemesh_orchestrator.http_server.server import HttpServer
from lanemesh_orchestrator.orchestrator import Orchestrator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from rigs.gateways import gateway_at
from rigs.runs import NODES, RIGS, line, node, pipeline, response

TAG = line(node("a", "tag", "chat", mark="+"))
HANGS = line(node("a", "hang", "chat"))
BLOCKS = 2_000
"""So many values do not fit into a run that takes none."""
FILE = pipeline({"id": "file", "provider": "file"}, {"id": "out", "provider": "response", "config": {"lane": "image"}})
FILE["components"][1]["input"] = [{"lane": "image", "from": "file"}]


class Talk:
    """A client that keeps what it does not wait for."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.kept: list[dict[str, Any]] = []

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def next(self) -> dict[str, Any]:
        received = await self.connection.recv()
        assert isinstance(received, str)
        found: dict[str, Any] = json.loads(received)
        if found.get("frames"):
            found["content"] = await self.connection.recv()
        return found

    async def wait(self, **wanted: Any) -> dict[str, Any]:
        """The first message, kept or new, with these fields."""
        for position, message in enumerate(self.kept):
            if wanted.items() <= message.items():
                return self.kept.pop(position)
        while True:
            message = await self.next()
            if wanted.items() <= message.items():
                return message
            self.kept.append(message)

    async def ask(self, **message: Any) -> dict[str, Any]:
        """The reply to a request."""
        identity = f"r{id(message)}"
        await self.send(id=identity, **message)
        return await self.wait(id=identity)

    async def updates(self, run_id: str) -> list[dict[str, Any]]:
        """The updates of a run, to its end."""
        await self.wait(type="end", run_id=run_id)
        found = [one["update"] for one in self.kept if one["type"] == "update" and one["run_id"] == run_id]
        self.kept = [one for one in self.kept if one.get("run_id") != run_id]
        return found


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with Mesh(nodes=[NODES, RIGS / "approval_nodes.py", RIGS / "talking_nodes.py"]) as mesh:
        yield mesh


@pytest.fixture
async def server(mesh: Mesh) -> AsyncIterator[HttpServer]:
    async with gateway_at(mesh) as server:
        yield server


@asynccontextmanager
async def talking(server: HttpServer, **options: Any) -> AsyncIterator[Talk]:
    async with connect(f"{server.url.replace('http', 'ws', 1)}/v1/ws", **options) as connection:
        yield Talk(connection)


def narrow_socket(url: str) -> socket.socket:
    """A connection whose system takes little that its program has not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    address = urlsplit(url)
    narrow.connect((address.hostname, address.port))
    narrow.setblocking(False)
    return narrow


def values(updates: list[dict[str, Any]]) -> list[Any]:
    return [update["value"] for update in updates if update["update"] == "output"]


async def test_many_runs_over_one_socket_are_told_apart(server: HttpServer) -> None:
    async with talking(server) as talk:
        started = [await talk.ask(type="start", pipeline=TAG, input=str(number)) for number in range(10)]
        assert {one["type"] for one in started} == {"started"}
        for number, one in enumerate(started):
            updates = await talk.updates(one["run_id"])
            assert values(updates) == [f"+{number}"]
            assert [update["sequence"] for update in updates] == list(range(1, len(updates) + 1))
            assert updates[-1]["state"] == "completed"


async def test_a_run_is_fed_and_ended(server: HttpServer) -> None:
    async with talking(server) as talk:
        run = (await talk.ask(type="start", pipeline=TAG, open_input=True))["run_id"]
        for text in ("a", "b", "c"):
            await talk.send(type="input", id="", run_id=run, value=text)
        assert (await talk.ask(type="input", run_id=run, values=["d", "e"], end=True))["taken"] == 2
        assert values(await talk.updates(run)) == ["+a", "+b", "+c", "+d", "+e"]
        late = await talk.ask(type="input", run_id=run, value="x")
        assert late["type"] == "error"


async def test_cancelling_is_a_request_and_a_lost_connection_cancels_own_runs_alone(
    server: HttpServer, mesh: Mesh
) -> None:
    async with talking(server) as talk:
        first = (await talk.ask(type="start", pipeline=HANGS, input="x"))["run_id"]
        assert (await talk.ask(type="cancel", run_id=first, reason="enough"))["type"] == "ok"
        last = (await talk.updates(first))[-1]
        assert (last["state"], last["reason"]) == ("cancelled", "enough")
        own = (await talk.ask(type="start", pipeline=HANGS, input="x"))["run_id"]
        detached = (await talk.ask(type="start", pipeline=HANGS, input="x", detached=True))["run_id"]
    await mesh.attach(own).result()
    assert (await mesh.record(own)).state is RunState.CANCELLED
    assert not (await mesh.record(detached)).state.is_terminal
    await mesh.attach(detached).cancel()


async def test_a_watched_run_resumes_after_a_number(server: HttpServer, mesh: Mesh) -> None:
    run = await mesh.start(TAG, inputs=["a", "b"])
    await run.result()
    async with talking(server) as talk:
        assert (await talk.ask(type="watch", run_id=run.id))["type"] == "ok"
        everything = await talk.updates(run.id)
        assert (await talk.ask(type="watch", run_id=run.id, after=3))["type"] == "ok"
        assert await talk.updates(run.id) == everything[3:]
        assert (await talk.ask(type="watch", run_id=run.id, after=everything[-1]["sequence"]))["type"] == "ok"
        assert await talk.updates(run.id) == []


async def test_an_approval_is_decided(server: HttpServer) -> None:
    asks = line(node("a", "careful", "chat"))
    async with talking(server) as talk:
        for decision, state in (("approve", "approved"), ("refuse", "refused")):
            run = (await talk.ask(type="start", pipeline=asks, input="x"))["run_id"]
            approval = None
            while approval is None:
                update = await talk.wait(type="update", run_id=run)
                approval = update["update"] if update["update"]["update"] == "approval" else None
            reply = await talk.ask(type=decision, run_id=run, call_id=approval["call_id"])
            assert reply["type"] == "ok", reply
            updates = await talk.updates(run)
            assert [one["state"] for one in updates if one["update"] == "approval"] == [state]


async def test_media_travel_as_binary_frames_both_ways(server: HttpServer) -> None:
    content = bytes(range(256)) * 100
    image = {"lane": "image", "value": {"mime_type": "image/png", "frame": 0}}
    async with talking(server) as talk:
        await talk.send(type="start", id="s", pipeline=FILE, input=image, frames=1)
        await talk.connection.send(content)
        run = (await talk.wait(id="s"))["run_id"]
        await talk.wait(type="end", run_id=run)
        (output,) = [one for one in talk.kept if one.get("update", {}).get("update") == "output"]
        assert output["content"] == content
        assert output["update"]["value"] == {"mime_type": "image/png", "bytes": len(content)}
        missing = {"lane": "image", "value": {"mime_type": "image/png", "frame": 1}}
        await talk.send(type="start", id="t", pipeline=FILE, input=missing, frames=1)
        await talk.connection.send(content)
        assert (await talk.wait(id="t"))["error"]["message"].startswith("/input/value/frame: ")


async def test_a_binary_frame_is_the_content_of_one_value(server: HttpServer) -> None:
    image = {"lane": "image", "value": {"mime_type": "image/png", "frame": 0}}
    document = {"lane": "documents", "value": {"content": "", "file": image["value"]}}
    async with talking(server) as talk:
        for number, inputs in enumerate(([image, image], [document, image])):
            await talk.send(type="start", id=str(number), pipeline=FILE, inputs=inputs, frames=1)
            await talk.connection.send(b"x")
            error = (await talk.wait(id=str(number)))["error"]
            assert error["message"].startswith("/inputs/1/value/frame: ")


async def test_a_turn_of_a_session(server: HttpServer) -> None:
    recall = pipeline(
        {"id": "chat_1", "provider": "chat"},
        {"id": "recall_1", "provider": "recall", "input": [{"lane": "questions", "from": "chat_1"}]},
        {
            "id": "out",
            "provider": "response",
            "config": {"lane": "answers"},
            "input": [{"lane": "answers", "from": "recall_1"}],
        },
    )
    async with talking(server) as talk:
        for text, answer in (("one", "now:one"), ("two", "user:one|assistant:now:one|now:two")):
            run = (await talk.ask(type="start", pipeline=recall, input=text, session="s"))["run_id"]
            assert "".join(one["text"] for one in values(await talk.updates(run))) == answer


async def test_channels_are_subscribed_and_published_to(server: HttpServer) -> None:
    async with talking(server) as talk, talking(server) as other:
        assert (await talk.ask(type="subscribe", channel="mesh:news"))["type"] == "ok"
        published = await other.ask(type="publish", channel="mesh:news", message={"n": 1})
        assert published["subscribers"] == 1
        message = await talk.wait(type="message")
        assert (message["channel"], message["message"]) == ("mesh:news", {"n": 1})
        again = await talk.ask(type="subscribe", channel="mesh:news")
        assert again["error"]["reason"] == "already-watched"
        assert (await talk.ask(type="unsubscribe", channel="mesh:news"))["type"] == "ok"
        assert (await other.ask(type="publish", channel="mesh:news", message=2))["subscribers"] == 0
        gone = await talk.ask(type="unsubscribe", channel="mesh:news")
        assert gone["error"]["reason"] == "not-watched"
        foreign = await talk.ask(type="subscribe", channel="news")
        assert foreign["error"]["message"].startswith("/channel: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not-json"),
        ("[" * 100_000, "not-json"),
        ("1", "wrong-type"),
        ('{"id": "x"}', "bad-value"),
        ('{"type": "sleep"}', "bad-value"),
        ('{"type": ["start"]}', "bad-value"),
        ('{"type": "start"}', "missing-field"),
        ('{"type": "start", "pipeline": "chat"}', "bad-value"),
        ('{"type": "cancel", "run_id": "r", "reson": "x"}', "unknown-field"),
        ('{"type": "cancel", "run_id": 7}', "wrong-type"),
        ('{"type": "cancel", "run_id": "nope"}', "unknown-run"),
        ('{"type": "watch", "run_id": "nope"}', "unknown-run"),
        ('{"type": "input", "run_id": "nope", "value": 1}', "unknown-run"),
        ('{"type": "input", "run_id": "nope"}', "missing-field"),
        ('{"type": "start", "pipeline": {}}', "pipeline-invalid"),
        ('{"type": "start", "pipeline": "@nope"}', "unknown-deployment"),
        ('{"type": "ping", "frames": 65}', "bad-value"),
    ],
)
async def test_a_bad_message_is_reported_and_the_socket_goes_on(server: HttpServer, text: str, reason: str) -> None:
    async with talking(server) as talk:
        await talk.connection.send(text)
        error = await talk.wait(type="error")
        assert error["error"]["reason"] == reason, error
        assert (await talk.ask(type="ping"))["type"] == "pong"


async def test_a_binary_frame_without_a_request_is_reported(server: HttpServer) -> None:
    async with talking(server) as talk:
        await talk.connection.send(b"bytes")
        assert (await talk.wait(type="error"))["error"]["reason"] == "wrong-type"
        await talk.send(type="ping", id="a", frames=1)
        await talk.send(type="ping", id="b")
        assert (await talk.wait(id="a"))["error"]["reason"] == "bad-value"
        assert (await talk.wait(id="b"))["type"] == "pong"


async def test_a_message_that_is_too_large_ends_the_socket(mesh: Mesh) -> None:
    async with gateway_at(mesh, GatewayOptions(max_body=10_000)) as server, talking(server) as talk:
        await talk.connection.send("x" * 20_000)
        with pytest.raises(ConnectionClosed) as caught:
            await talk.next()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


async def test_a_socket_needs_the_token_and_a_known_origin(mesh: Mesh) -> None:
    async with gateway_at(mesh, GatewayOptions(token="secret")) as server:
        with pytest.raises(InvalidStatus):
            async with talking(server):
                pass
        async with talking(server, additional_headers={"Authorization": "Bearer secret"}) as talk:
            assert (await talk.ask(type="ping"))["type"] == "pong"
        async with talking(server, subprotocols=["lanemesh.token.c2VjcmV0"]) as talk:
            assert (await talk.ask(type="ping"))["type"] == "pong"
        with pytest.raises(InvalidStatus):
            async with talking(
                server, origin="http://evil.example", additional_headers={"Authorization": "Bearer secret"}
            ):
                pass


async def test_a_client_that_does_not_read_holds_its_own_run(server: HttpServer, mesh: Mesh) -> None:
    source = {"id": "a", "provider": "large", "config": {"count": 100_000, "size": 65_536}}
    flood = pipeline(source, response({"lane": "text", "from": "a"}))
    async with talking(server, max_queue=1, compression=None, sock=narrow_socket(server.url)) as talk:
        run = (await talk.ask(type="start", pipeline=flood))["run_id"]
        counts: list[int] = []

        async def stands() -> bool:
            counts.append((await mesh.record(run)).output_count)
            return len(counts) > 50 and counts[-1] == counts[-50]

        while not await stands():  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.02)
        assert not (await mesh.record(run)).state.is_terminal
        talk.connection.transport.abort()
    result = await asyncio.wait_for(mesh.attach(run).result(), 30)
    assert result.state is RunState.CANCELLED


async def test_what_controls_a_run_does_not_wait_for_its_input(server: HttpServer) -> None:
    async with talking(server) as talk:
        for options in ({}, {"detached": True}):
            run = (await talk.ask(type="start", pipeline=HANGS, open_input=True, **options))["run_id"]
            await talk.send(type="input", id="behind", run_id=run, values=["x"] * BLOCKS)
            assert (await talk.ask(type="cancel", run_id=run))["type"] == "ok"
            assert (await talk.wait(id="behind"))["type"] == "error"
            assert (await talk.updates(run))[-1]["state"] == "cancelled"


async def test_requests_that_wait_for_a_run_do_not_keep_others_from_being_read(server: HttpServer) -> None:
    async with talking(server) as talk:
        run = (await talk.ask(type="start", pipeline=HANGS, open_input=True))["run_id"]
        for number in range(gateway_socket.MAX_REQUESTS):
            await talk.send(type="input", id=f"{number}", run_id=run, values=["x"] * BLOCKS)
        await talk.send(type="input", id="further", run_id=run, value="y")
        refused = (await talk.wait(id="further"))["error"]
        assert (refused["reason"], "not carried out" in refused["message"]) == ("too-many-wait", True)
        await talk.send(type="input", id="end", run_id=run, end=True)
        assert (await talk.ask(type="ping"))["type"] == "pong"
        missing = await talk.ask(type="approve", run_id=run, call_id="none")
        assert missing["error"]["reason"] == "unknown-approval"
        assert (await talk.ask(type="cancel", run_id=run))["type"] == "ok"
        for one in ("0", "end"):
            assert (await talk.wait(id=one))["type"] == "error"
        assert (await talk.updates(run))[-1]["state"] == "cancelled"
        assert (await talk.ask(type="start", pipeline=HANGS, open_input=True))["type"] == "started"


async def test_no_run_starts_beyond_the_streams_of_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_streams, "MAX_STREAMS", 2)
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    try:
        async with (
            Client(orchestrator.address) as client,
            gateway_at(client) as server,
            talking(server) as talk,
        ):
            for number in range(5):
                await talk.send(type="start", id=f"{number}", pipeline=HANGS, input="x")
            replies = [await talk.wait(id=f"{number}") for number in range(5)]
            assert sorted(one["type"] for one in replies) == ["error"] * 3 + ["started"] * 2
            assert len(await client.runs()) == 2
    finally:
        await orchestrator.close()


async def test_a_slow_subscriber_misses_messages_which_are_counted(server: HttpServer, mesh: Mesh) -> None:
    count = 1_000
    async with talking(server, max_queue=1, compression=None, sock=narrow_socket(server.url)) as talk:
        assert (await talk.ask(type="subscribe", channel="mesh:news"))["type"] == "ok"
        for number in range(count):
            await mesh.channels().publish("mesh:news", [number, "x" * 16_384])
        await mesh.channels().close("mesh:news")
        received = dropped = 0
        while (message := await talk.next())["type"] == "message":
            received, dropped = received + 1, dropped + message.get("dropped", 0)
        assert message == {"type": "end", "channel": "mesh:news"}
        assert dropped > 0
        assert received + dropped == count


async def test_a_stream_that_has_ended_may_be_opened_again_at_once(
    server: HttpServer, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(close: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def after_a_while(self: Any) -> None:
            for _ in range(1_000):  # a connection that closes takes some turns of the event loop
                await asyncio.sleep(0)
            await close(self)

        return after_a_while

    monkeypatch.setattr(Run, "close", slow(Run.close))
    monkeypatch.setattr(Subscription, "close", slow(Subscription.close))
    async with talking(server) as talk:
        run = (await talk.ask(type="start", pipeline=TAG, input="x"))["run_id"]
        await talk.wait(type="end", run_id=run)
        assert (await talk.ask(type="watch", run_id=run))["type"] == "ok"
        held = (await talk.ask(type="start", pipeline=TAG, open_input=True))["run_id"]
        assert (await talk.ask(type="subscribe", channel="news", run_id=held))["type"] == "ok"
        await mesh.attach(held).channels.close("news")
        await talk.wait(type="end", channel="news")
        assert (await talk.ask(type="subscribe", channel="news", run_id=held))["type"] == "ok"


async def test_the_end_of_a_channel_has_its_error(server: HttpServer, mesh: Mesh) -> None:
    async with talking(server) as talk:
        assert (await talk.ask(type="subscribe", channel="mesh:news"))["type"] == "ok"
        await mesh.close()
        end = await talk.wait(type="end", channel="mesh:news")
        assert end["error"]["reason"] == "orchestrator-stops"


async def test_the_frames_of_a_request_are_bounded_together(mesh: Mesh) -> None:
    async with gateway_at(mesh, GatewayOptions(max_body=10_000)) as server, talking(server) as talk:
        await talk.send(type="ping", id="a", frames=3)
        for _ in range(3):
            await talk.connection.send(bytes(5_000))
        assert (await talk.wait(id="a"))["error"]["reason"] == "body-too-large"
        assert (await talk.ask(type="ping"))["type"] == "pong"


async def test_a_request_that_fails_inside_the_gateway_is_answered(
    server: HttpServer, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(mesh, "record", fails)
    async with talking(server) as talk:
        error = (await talk.ask(type="watch", run_id="r"))["error"]
        assert (error["reason"], error["message"]) == ("internal", "the gateway failed; its log has the cause")
