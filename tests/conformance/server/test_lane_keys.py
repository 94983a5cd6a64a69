"""A node server takes lanes only of runs that its orchestrator has placed there: each lane carries the key of its run."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from lanemesh import Client
from lanemesh._grpc.log_once import LogOnce
from lanemesh.features import FEATURES, Feature
from lanemesh.server import node_service
from lanemesh.server.host.hosted_run import HostedRun
from lanemesh.server.node_server import NodeServer
from lanemesh.v1 import lane_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.lane_frames import RawLane, opening, raw_channel
from rigs.runs import chat, line, node, pipeline, response, serving, until

EDGE = "chat.text>a.text"
DIAMOND = pipeline(chat(), node("a", "tag", "chat", mark="a"), node("b", "tag", "a", mark="b"), response("b"))


@pytest.fixture
async def orchestrator() -> AsyncIterator[Orchestrator]:
    made = Orchestrator(embedded=False)
    await made.listen()
    yield made
    await made.close()


@pytest.fixture
async def server(orchestrator: Orchestrator) -> AsyncIterator[NodeServer]:
    async with serving(orchestrator, "one") as made:
        yield made


async def hosted(server: NodeServer) -> HostedRun:
    """The one run that a server hosts, as soon as it is placed."""
    await until(lambda: bool(server.host.runs))
    (run,) = server.host.runs.values()
    return run


def key_of(run: HostedRun) -> bytes:
    return run._place.lane_key


async def refusal(server: NodeServer, frame: lane_pb2.ExchangeRequest) -> tuple[grpc.StatusCode, str]:
    """The code and the reason with which a server refuses a lane."""
    async with raw_channel(server.address) as channel:
        lane = RawLane(channel)
        await lane.send(frame)
        code, fault, _ = await lane.status()
    assert fault is not None
    return code, fault.reason


async def short_refusal(server: NodeServer, frame: lane_pb2.LaneOpen) -> str:
    """The reason with which a server refuses a short lane."""
    frame.items.items.add(text="planted")
    frame.items.end.item_count = 1
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.stream_stream(
            "/lanemesh.v1.NodeService/ExchangeShort",
            request_serializer=lane_pb2.ExchangeShortRequest.SerializeToString,
            response_deserializer=lane_pb2.ExchangeShortResponse.FromString,
        )()
        await call.write(lane_pb2.ExchangeShortRequest(lanes=[lane_pb2.ShortLane(number=1, open=frame)]))
        response = await call.read()
    return str(response.closed[0].fault.reason)


@pytest.mark.parametrize("key", [b"", b"x", bytes(16), bytes(17)], ids=["none", "short", "zeros", "long"])
async def test_a_lane_without_the_key_of_its_run_is_refused_and_changes_nothing(
    orchestrator: Orchestrator,
    server: NodeServer,
    key: bytes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(node_service, "refusals", LogOnce(node_service.log))
    async with Client(orchestrator.address) as client, client.run(DIAMOND, open_input=True) as run:
        await run.push("x")
        secret = key_of(await hosted(server))
        inside = opening(run.id, "a.passed>b.text", lane_key=key)  # between two nodes of this server: never dialled
        assert await refusal(server, inside) == (grpc.StatusCode.PERMISSION_DENIED, "wrong-lane-key")
        for _ in range(3):
            outside = opening(run.id, EDGE, lane_key=key)
            assert await refusal(server, outside) == (grpc.StatusCode.PERMISSION_DENIED, "wrong-lane-key")
        assert await short_refusal(server, outside.open) == "wrong-lane-key"
        await run.end_input()
        result = await run.result()
    assert (result.state, result.values) == ("completed", ("bax",))
    logged = [entry.getMessage() for entry in caplog.records if "is rejected" in entry.getMessage()]
    assert len(logged) == 1, logged
    assert all(part not in caplog.text for part in (repr(secret), secret.hex()))


async def test_a_replayed_open_is_refused(orchestrator: Orchestrator, server: NodeServer) -> None:
    async with Client(orchestrator.address) as client:
        async with client.run(DIAMOND, open_input=True) as run:
            await run.push("x")
            seen = opening(run.id, EDGE, lane_key=key_of(await hosted(server)))
            run_there = await hosted(server)
            await until(lambda: EDGE in run_there._lanes._accepted)
            assert await refusal(server, seen) == (grpc.StatusCode.ALREADY_EXISTS, "already-open")
            again = opening(run.id, EDGE, lane_key=seen.open.lane_key, reopen=True)
            assert await refusal(server, again) == (grpc.StatusCode.FAILED_PRECONDITION, "not-detached")
            await run.end_input()
            assert (await run.result()).values == ("bax",)
        assert await refusal(server, seen) == (grpc.StatusCode.NOT_FOUND, "unknown-run")
        assert await short_refusal(server, seen.open) == "unknown-run"


async def test_each_run_has_a_key_of_its_own_which_all_its_servers_know(
    orchestrator: Orchestrator, server: NodeServer
) -> None:
    async with Client(orchestrator.address) as client:
        keys = []
        for _ in range(2):
            async with client.run(DIAMOND, open_input=True) as run:
                await run.push("x")
                own = key_of(await hosted(server))
                assert own == key_of(next(iter(orchestrator.host.runs.values())))
                keys.append(own)
                await run.end_input()
                assert (await run.result()).values == ("bax",)
    assert [len(key) for key in keys] == [16, 16]
    assert keys[0] != keys[1]


async def test_a_server_without_the_feature_works_and_is_named_in_the_log(
    orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        serving(orchestrator, "old", features=FEATURES - {Feature.LANE_KEYS}) as old,
        Client(orchestrator.address) as client,
    ):
        for _ in range(2):
            async with client.run(line(node("a", "tag", "chat")), open_input=True) as run:
                await run.push("x")
                assert key_of(await hosted(old)) == b""
                await run.end_input()
                assert (await run.result()).values == ("x",)
        logged = [entry.getMessage() for entry in caplog.records if "lane-keys" in entry.getMessage()]
    assert len(logged) == 1, logged
    assert '"old"' in logged[0]
