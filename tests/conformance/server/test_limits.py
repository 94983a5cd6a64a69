"""What servers bear: each limit refuses the call that exceeds it, names itself, and harms no other call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from lanemesh import Client
from lanemesh._grpc import call_limit
from lanemesh._grpc.caller import CALLER, current_caller
from lanemesh._grpc.limits import Limits
from lanemesh._grpc.log_once import LogOnce
from lanemesh._grpc.server import GrpcServer
from lanemesh._grpc.status import fault_of
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs import caller_runs
from lanemesh_orchestrator.runs.run_options import RunOptions

from rigs.hostile import KINDS, MIB, STREAMS, UNARY, Servers, failure, raw, servers, unharmed
from rigs.runs import NODES, line, node

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
EXHAUSTED, LATE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture
async def mesh() -> AsyncIterator[Servers]:
    async with servers() as made:
        yield made


class Named(grpc.aio.ServerInterceptor):
    """Believes the name that a caller gives, in place of a token."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        CALLER.set(dict(handler_call_details.invocation_metadata).get("name", ""))
        return await continuation(handler_call_details)


@pytest.mark.conformance("SRV-05")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_over_the_limit_is_refused_and_the_server_continues(mesh: Servers, kind: str) -> None:
    async with unharmed(mesh), raw(mesh.address(kind)) as channel:
        for size in (16 * MIB + 1, 64 * MIB):
            code, text = await failure(channel.unary_unary(UNARY[kind])(bytes(size)))
            assert (code, f"larger than max ({size} vs. {16 * MIB})" in text) == (EXHAUSTED, True)
        stream: Any = channel.stream_stream(f"/lanemesh.v1.{STREAMS[kind][-1]}")()
        await stream.write(bytes(16 * MIB + 1))
        code, text = await failure(stream.read())
        assert (code, f"({16 * MIB + 1} vs. {16 * MIB})" in text) == (EXHAUSTED, True)


@pytest.mark.parametrize("kind", KINDS)
async def test_metadata_over_the_limit_is_refused(mesh: Servers, kind: str) -> None:
    async with unharmed(mesh), raw(mesh.address(kind)) as channel:
        for size in (17 * 1024, MIB):
            code, text = await failure(channel.unary_unary(UNARY[kind])(b"", metadata=(("name", "v" * size),)))
            assert (code, "metadata size exceeds" in text, str(16 * 1024) in text) == (EXHAUSTED, True, True)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_without_a_first_frame_is_ended(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_LIMITS", "first-frame-seconds=0.3")
    async with servers() as mesh, raw(mesh.address(kind)) as channel:
        silent = [*(f"/lanemesh.v1.{name}" for name in STREAMS[kind]), REFLECTION]
        for found in await asyncio.gather(*(failure(channel.stream_stream(name)().read()) for name in silent)):
            code, text = found
            assert (code, "arrived within 0.3 s" in text) == (LATE, True)


async def test_heartbeats_are_no_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_LIMITS", "first-frame-seconds=0.3")
    async with servers() as mesh, raw(mesh.node.address) as channel:
        call: Any = channel.stream_stream("/lanemesh.v1.NodeService/Host")()
        await call.write(b"")
        assert (await failure(call.read()))[0] is LATE


async def test_a_connection_that_does_not_speak_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_LIMITS", "handshake-seconds=0.3")
    async with servers() as mesh:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port("node server"))
        assert b"handshake timeout" in await asyncio.wait_for(reader.read(), 20)
        writer.close()


async def test_connections_over_the_limit_are_closed_and_leave_room_when_others_end() -> None:
    server = GrpcServer(limits=Limits(connections=3))
    await server.start([])
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
    for reader, _ in held:
        assert await asyncio.wait_for(reader.read(9), 10)  # its settings: the server has taken the connection
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    for _, held_writer in held:
        held_writer.close()
    writer.close()
    async with asyncio.timeout(10), raw(server.address) as channel:
        await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", wait_for_ready=True)
    await server.stop(0)


async def test_calls_over_the_limit_are_refused() -> None:
    server = GrpcServer(limits=Limits(calls=2))
    await server.start([])
    async with raw(server.address) as channel:
        watches: list[Any] = [channel.unary_stream("/grpc.health.v1.Health/Watch")(b"") for _ in range(2)]
        for watch in watches:
            await watch.read()
        code, text = await failure(channel.unary_unary("/grpc.health.v1.Health/Check")(b""))
        assert (code, "limit exceeded" in text) == (EXHAUSTED, True)
        for watch in watches:
            watch.cancel()
    await server.stop(0)


async def test_a_connection_has_at_most_so_many_calls_and_others_are_served() -> None:
    server = GrpcServer(limits=Limits(streams_per_connection=2))
    await server.start([])
    async with raw(server.address) as channel:
        watches: list[Any] = [channel.unary_stream("/grpc.health.v1.Health/Watch")(b"") for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError):  # it waits, or is reset
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=1)
        async with raw(server.address) as other:
            await other.unary_unary("/grpc.health.v1.Health/Check")(b"")
        for watch in watches:
            watch.cancel()
    await server.stop(0)


async def test_the_calls_of_one_caller_are_limited_and_others_are_served(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_limit, "refusals", LogOnce(logging.getLogger("lanemesh.grpc")))
    server = GrpcServer(limits=Limits(calls_per_caller=2), interceptors=[Named()])
    await server.start([])
    async with raw(server.address) as channel:
        check, watch = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
        held: list[Any] = [channel.unary_stream(watch)(b"", metadata=(("name", "greedy"),)) for _ in range(2)]
        for call in held:
            await call.read()
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(check)(b"", metadata=(("name", "greedy"),))
            fault = fault_of(caught.value)
            assert fault is not None
            assert (fault.reason, 'the caller "greedy" has 2 calls' in fault.message) == ("too-many-calls", True)
        for others in ((("name", "modest"),), ()):
            await channel.unary_unary(check)(b"", metadata=others)
        assert len([entry for entry in caplog.records if "greedy" in entry.getMessage()]) == 1
        held.pop().cancel()
        async with asyncio.timeout(10):
            while True:  # the server sees the end of the call soon
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await channel.unary_unary(check)(b"", metadata=(("name", "greedy"),))
                    break
    await server.stop(0)


async def test_the_runs_of_one_caller_are_limited(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caller_runs.rejection_log.cache_clear()  # an earlier test may have had its line
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    orchestrator.runs.callers.limit = 2
    document = line(node("a", "tag", "chat"))
    async with Client(orchestrator.address) as client:
        monkeypatch.setattr("lanemesh_orchestrator.runs.runs.current_caller", lambda: "greedy")
        held = [await client.start(document, open_input=True) for _ in range(2)]
        for _ in range(2):
            with pytest.raises(LanemeshError, match='the caller "greedy" has 2 active runs') as caught:
                await client.start(document, input="x")
            assert caught.value.fault.reason == "too-many-runs"
        assert len([entry for entry in caplog.records if "(limit runs-per-caller)" in entry.getMessage()]) == 1
        monkeypatch.setattr("lanemesh_orchestrator.runs.runs.current_caller", current_caller)
        assert (await client.run(document, input="x").result()).values == ("x",)
        await held[0].cancel()
        await held[0].result()
        monkeypatch.setattr("lanemesh_orchestrator.runs.runs.current_caller", lambda: "greedy")
        assert (await client.run(document, input="x").result()).values == ("x",)
    await orchestrator.close()


async def test_a_run_counts_no_more_when_its_terminal_update_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    runs = orchestrator.runs
    runs.callers.limit = 1
    monkeypatch.setattr("lanemesh_orchestrator.runs.runs.current_caller", lambda: "greedy")
    spec = run_pb2.RunSpec(pipeline_json=json.dumps(line(node("a", "tag", "chat"))))
    graph = replace(runs.validate(spec), deployment="tags")
    for _ in range(2):
        run = runs.start_detached(graph, [], RunOptions(), open_input=False)
        assert runs.of_deployments() == {"tags": 1}
        async for _update in run.log.read(paces=False):
            pass
        assert runs.of_deployments() == {}
    await orchestrator.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("calls", "write NAME=VALUE; the names are message-bytes, metadata-bytes"),
        ("speed=3", "is not a limit"),
        ("calls=many", "out of range: it has to be 1 to 1,000,000"),
        ("calls=1.5", "out of range"),
        ("calls=-1", "out of range"),
        ("handshake-seconds=nan", "out of range"),
        ("message-bytes=1000", "out of range: it has to be 2,097,152 to 16,777,216"),
        (f"message-bytes={17 * MIB}", "out of range"),
        ("x" * 1000, "is not a limit"),
    ],
)
def test_a_wrong_limit_is_refused(text: str, message: str) -> None:
    with pytest.raises(LanemeshError, match=message) as caught:
        Limits.of([text])
    assert (caught.value.fault.reason, len(str(caught.value)) < 500) == ("bad-limit", True)


def test_limits_come_from_the_environment_and_later_ones_take_precedence() -> None:
    environment = {"LANEMESH_LIMITS": "calls=7, connections=8 handshake-seconds=1.5"}
    found = Limits.of(["connections=9"], environment)
    assert (found.calls, found.connections, found.handshake_seconds) == (7, 9, 1.5)
    assert Limits.of([], {}) == Limits()


def test_connections_stay_within_the_files_of_the_process() -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert Limits(connections=1_000_000).own_connections < files
    assert Limits(connections=10).own_connections == 10
