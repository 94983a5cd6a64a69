"""Where tokens are required, no method of any server answers without one, nor with one of too few scopes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest
from lanemesh import Client, Deployed
from lanemesh._grpc.auth import tokens as tokens_module
from lanemesh._grpc.auth.callers import AUTHENTICATED, Caller
from lanemesh._grpc.auth.scopes import METHOD_SCOPES, Scope
from lanemesh._grpc.caller import current_caller
from lanemesh._grpc.connections import dial
from lanemesh._grpc.security import Security
from lanemesh._grpc.server import GrpcServer
from lanemesh._grpc.status import fault_of
from lanemesh.faults import Code, LanemeshError
from lanemesh.gpu import GpuArbiter
from lanemesh.gpu.server import ArbiterServer
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import node_pb2, node_pb2_grpc, run_pb2, run_pb2_grpc
from lanemesh_orchestrator.cli.commands.a2a import agents_of
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.doors import Doors
from rigs.method_names import Method, methods_of
from rigs.runs import NODES, line, node

HEALTH = "/grpc.health.v1.Health/"


@asynccontextmanager
async def servers(doors: Doors, security: Security) -> AsyncIterator[dict[str, str]]:
    """An orchestrator with agents, a node server and a GPU arbiter that require tokens: their addresses by their kinds."""
    async with AsyncExitStack() as stack:
        orchestrator = Orchestrator(embedded=False, security=security)
        stack.push_async_callback(orchestrator.close)
        await orchestrator.listen(more=agents_of())
        host = NodeHost([load_file(NODES)], name="worker")
        host.security = security
        server = NodeServer(host, orchestrator=orchestrator.address)
        stack.push_async_callback(server.stop)
        await server.start()
        assert server.registration is not None
        await server.registration.joined.wait()
        arbiter = ArbiterServer(GpuArbiter([]), security=security)
        stack.push_async_callback(arbiter.stop)
        await arbiter.start()
        yield {"orchestrator": orchestrator.address, "node server": server.address, "arbiter": arbiter.address}


@pytest.fixture
async def locked(doors: Doors) -> AsyncIterator[dict[str, str]]:
    async with servers(doors, doors.tokens_only("node")) as addresses:
        yield addresses


async def methods(doors: Doors, address: str) -> list[Method]:
    """The methods of a server but those of health: reflection shows them to those with a token."""
    async with dial(address, security=doors.tokens_only("watcher")) as channel:
        return [method for method in await methods_of(channel) if not method.path.startswith(HEALTH)]


@pytest.mark.conformance("SRV-03")
async def test_no_method_of_any_service_answers_without_a_token(doors: Doors, locked: dict[str, str]) -> None:
    seen: set[str] = set()
    wrong = ("Bearer wrong", "Bearer", "Basic YTpi", "")
    for address in locked.values():
        found = await methods(doors, address)
        seen |= {method.path for method in found}
        async with grpc.aio.insecure_channel(address) as channel:
            for sent in wrong:
                metadata = (("authorization", sent),) if sent else ()
                codes = await asyncio.gather(*(method.status(channel, metadata=metadata) for method in found))
                answered = {
                    method.path: code.name
                    for method, code in zip(found, codes, strict=True)
                    if code is not grpc.StatusCode.UNAUTHENTICATED
                }
                assert not answered
    assert seen == set(METHOD_SCOPES)


@pytest.mark.conformance("SRV-03")
async def test_each_method_is_refused_to_those_who_lack_its_scopes(doors: Doors, locked: dict[str, str]) -> None:
    names = {Scope.RUN: "runner", Scope.DEPLOY: "deployer", Scope.WATCH: "watcher", Scope.NODE: "node"}
    for address in locked.values():
        found = await methods(doors, address)
        for scope, name in names.items():
            lacking = [method for method in found if scope not in METHOD_SCOPES[method.path]]
            async with dial(address, security=doors.tokens_only(name)) as channel:
                codes = await asyncio.gather(*(method.status(channel) for method in lacking))
            assert {method.path: code.name for method, code in zip(lacking, codes, strict=True)} == {
                method.path: "PERMISSION_DENIED" for method in lacking
            }


async def test_unknown_methods_do_not_show_without_a_token_that_they_are_unknown(
    doors: Doors, locked: dict[str, str]
) -> None:
    unknown = Method("/lanemesh.v1.RunService/Missing", False, False)
    async with grpc.aio.insecure_channel(locked["orchestrator"]) as channel:
        assert await unknown.status(channel) is grpc.StatusCode.UNAUTHENTICATED
    async with dial(locked["orchestrator"], security=doors.tokens_only("admin")) as channel:
        assert await unknown.status(channel) is grpc.StatusCode.UNIMPLEMENTED


async def test_health_needs_no_token(locked: dict[str, str]) -> None:
    check = Method(HEALTH + "Check", False, False)
    for address in locked.values():
        async with grpc.aio.insecure_channel(address) as channel:
            assert await check.status(channel) is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("token", "code", "reason"),
    [
        (lambda doors: "", Code.UNAUTHENTICATED, "token-missing"),
        (lambda doors: "wrong", Code.UNAUTHENTICATED, "token-invalid"),
        (lambda doors: doors.jwt(exp=time.time() - 100), Code.UNAUTHENTICATED, "token-expired"),
        (lambda doors: doors.jwt(aud="another-mesh"), Code.UNAUTHENTICATED, "token-audience"),
        (lambda doors: doors.jwt("watch"), Code.PERMISSION_DENIED, "scope-missing"),
    ],
    ids=["missing", "wrong", "expired", "stolen", "scope"],
)
async def test_a_client_learns_why_it_is_refused_and_what_to_do(
    doors: Doors, locked: dict[str, str], token: object, code: Code, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(token)
    sent = token(doors)
    async with Client(locked["orchestrator"], token=sent, tls=False) as client:
        with pytest.raises(LanemeshError) as caught:
            await client.run(line(node("a", "tag", "chat", mark="+")), input="x").result()
        with pytest.raises(LanemeshError) as of_unary:
            await client.deploy("name", line(node("a", "tag", "chat", mark="+")))
    for error in (caught.value, of_unary.value):
        assert (error.fault.code, error.fault.reason) == (code, reason)
        assert "oken" in error.fault.message
        if sent:
            assert sent not in f"{error!r} {error} {caplog.text}"


async def test_a_jwt_with_the_scope_runs(doors: Doors, locked: dict[str, str]) -> None:
    async with Client(locked["orchestrator"], token=doors.jwt("run"), tls=False) as client:
        assert (await client.run(line(node("a", "tag", "chat", mark="+")), input="x").result()).text == "+x"


async def test_a_handler_knows_who_calls(doors: Doors) -> None:
    seen: list[tuple[str, Caller | None]] = []

    async def answer(request: bytes, context: Any) -> bytes:
        seen.append((current_caller(), AUTHENTICATED.get()))
        return request

    handlers: dict[str, Any] = {"Who": grpc.unary_unary_rpc_method_handler(answer)}
    async with GrpcServer(security=doors.tokens_only()) as server:
        server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
        await server.start([])
        for token in (doors.token("admin"), doors.jwt("admin")):
            security = replace(doors.tokens_only(), token=token)
            async with dial(server.address, security=security) as channel:
                assert await Method("/test.Who/Who", False, False).status(channel) is grpc.StatusCode.OK
    assert [name for name, _ in seen] == ["admin", "jane@https://id.example"]
    assert [caller.scopes for _, caller in seen if caller is not None] == [{Scope.ADMIN}, {Scope.ADMIN}]
    assert current_caller() == ""


async def test_scopes_hold_for_deployments(doors: Doors, locked: dict[str, str]) -> None:
    address = locked["orchestrator"]
    pipeline = line(node("a", "tag", "chat", mark="+"))
    async with (
        Client(address, token=doors.token("deployer"), tls=False) as deployer,
        Client(address, token=doors.token("runner"), tls=False) as runner,
        Client(address, token=doors.token("watcher"), tls=False) as watcher,
    ):
        await deployer.deploy("tagged", pipeline)
        assert await runner.request(Deployed("tagged"), "x").text() == "+x"
        assert [one.name for one in await watcher.deployments()] == ["tagged"]
        for refused in (runner.undeploy("tagged"), watcher.undeploy("tagged"), deployer.request("@tagged", "x").text()):
            with pytest.raises(LanemeshError) as caught:
                await refused
            assert caught.value.fault.reason == "scope-missing"
        await deployer.undeploy("tagged")


async def test_a_refused_stream_is_not_masked_as_internal(locked: dict[str, str]) -> None:
    """A client that writes when the server ends its call sees INTERNAL, unless the server waits for a pause."""
    async with grpc.aio.insecure_channel(locked["orchestrator"]) as channel:
        for _ in range(20):
            call = run_pb2_grpc.RunServiceStub(channel).Run()
            await call.write(run_pb2.RunRequest(spec=run_pb2.RunSpec()))
            for _ in range(50):
                await call.write(run_pb2.RunRequest())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            fault = fault_of(caught.value)
            assert fault is not None
            assert fault.reason == "token-missing"


async def test_a_stream_that_never_stops_writing_is_ended(locked: dict[str, str]) -> None:
    async with grpc.aio.insecure_channel(locked["orchestrator"]) as channel, asyncio.timeout(30):
        call = run_pb2_grpc.RunServiceStub(channel).Run()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await call.write(run_pb2.RunRequest())
        assert await call.code() is not grpc.StatusCode.OK


async def test_refusals_are_logged_once_a_second(locked: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    check = Method("/lanemesh.v1.RunService/ListRuns", False, False)
    caplog.set_level(logging.WARNING)
    started = time.monotonic()
    async with grpc.aio.insecure_channel(locked["orchestrator"]) as channel:
        for _ in range(300):
            await check.status(channel)
    lines = [record for record in caplog.records if record.name == "lanemesh.auth"]
    assert 1 <= len(lines) <= 1 + (time.monotonic() - started)


async def test_a_node_server_without_the_scope_does_not_join(
    doors: Doors, locked: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    host = NodeHost([load_file(NODES)], name="intruder")
    host.security = doors.tokens_only("runner")
    server = NodeServer(host, orchestrator=locked["orchestrator"])
    logged = asyncio.Event()

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "cannot join" in record.getMessage():
                logged.set()

    handler = Seen()
    logging.getLogger("lanemesh.registration").addHandler(handler)
    try:
        await server.start()
        async with asyncio.timeout(20):
            await logged.wait()
    finally:
        logging.getLogger("lanemesh.registration").removeHandler(handler)
        await server.stop()
    assert "needs a token with the scope node" in caplog.text
    async with Client(locked["orchestrator"], token=doors.token("watcher"), tls=False) as client:
        assert [one.name for one in await client.node_servers()] == ["worker"]


async def test_nobody_hosts_or_exchanges_with_a_token_of_a_client(doors: Doors, locked: dict[str, str]) -> None:
    async with dial(locked["node server"], security=doors.tokens_only("all")) as channel:
        described = await node_pb2_grpc.NodeServiceStub(channel).Describe(node_pb2.DescribeRequest(), timeout=10)
        assert described.manifests
    async with dial(locked["node server"], security=doors.tokens_only("admin")) as channel:
        stub = node_pb2_grpc.NodeServiceStub(channel)
        for call in (stub.Host(iter([node_pb2.HostRequest()])), stub.Describe(node_pb2.DescribeRequest())):
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_tokens_are_reloaded_while_a_server_serves(own_doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "LOOK_SECONDS", 0.0)
    async with (
        servers(own_doors, own_doors.tokens_only("node")) as addresses,
        Client(addresses["orchestrator"], token="token-of-late-0123456789", tls=False) as client,
    ):
        with pytest.raises(LanemeshError) as caught:
            await client.node_types()
        assert caught.value.fault.reason == "token-invalid"
        own_doors.write_tokens({"late": ("run",), "node": ("node",)})
        await client.node_types()


def test_tokens_of_a_plain_connection_do_not_leave_the_machine(doors: Doors) -> None:
    async def start() -> None:
        async with Client("192.0.2.1:7070", token="a-token") as client:
            await client.node_types()

    with pytest.raises(LanemeshError, match="LANEMESH_TLS_CA") as caught:
        asyncio.run(start())
    assert caught.value.fault.reason == "insecure-token"
