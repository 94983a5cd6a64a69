"""Streams end with the token that opened them, except those between the parts of the mesh."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from lanemesh import Client
from lanemesh._grpc.auth import streams
from lanemesh._grpc.auth.interceptor import TokenInterceptor
from lanemesh._grpc.auth.tokens import AcceptedTokens
from lanemesh._grpc.security import OPEN
from lanemesh._grpc.server import GrpcServer
from lanemesh._grpc.status import fault_of
from lanemesh.faults import Code, LanemeshError
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.doors import TOKENS, Doors
from rigs.runs import NODES, line, node

TAG = line(node("a", "tag", "chat", mark="+"))


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHECK_SECONDS", 0.01)


async def test_runs_and_watches_end_when_their_token_is_removed(own_doors: Doors) -> None:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES], security=own_doors.tokens_only("node"))
    await orchestrator.listen()
    try:
        async with (
            Client(orchestrator.address, token=own_doors.token("runner")) as client,
            Client(orchestrator.address, token=own_doors.token("other")) as other,
            other.run(TAG, open_input=True) as of_other,
        ):
            detached = await other.start(TAG, open_input=True)
            watch = client.attach(detached.id).updates()
            await anext(watch)
            run = client.run(TAG, open_input=True)
            updates = run.updates()
            await anext(updates)
            own_doors.write_tokens({name: scopes for name, scopes in TOKENS.items() if name != "runner"})
            for stream in (watch, updates):
                with pytest.raises(LanemeshError) as ended:
                    async for _ in stream:
                        pass
                assert (ended.value.fault.code, ended.value.fault.reason) == (Code.UNAUTHENTICATED, "token-invalid")
            (own,) = [run for run in orchestrator.runs.known() if run.id not in (detached.id, of_other.id)]
            await own.ended.wait()  # the run of the call is cancelled
            await detached.push("x")
            assert (await anext(detached.outputs())).value == "+x"
            await of_other.push("y")
            assert (await anext(of_other.outputs())).value == "+y"
    finally:
        await orchestrator.close()


async def _echo(requests: Any, context: Any) -> None:
    while isinstance(request := await context.read(), bytes):
        await context.write(request)


async def _echoes(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


@asynccontextmanager
async def echoing(tokens: AcceptedTokens) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to a server whose streams answer what they get."""
    async with GrpcServer(security=OPEN, interceptors=[TokenInterceptor(tokens)]) as server:
        for service, methods in (
            ("lanemesh.v1.RunService", {"Run": _echo, "WatchRun": _echoes}),
            ("lanemesh.v1.NodeService", {"Host": _echo}),
        ):
            handlers: dict[str, Any] = {
                name: grpc.stream_stream_rpc_method_handler(method) for name, method in methods.items()
            }
            server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        await server.start([])
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield channel


@pytest.mark.parametrize("method", ["RunService/Run", "RunService/WatchRun"])
async def test_a_stream_ends_when_its_token_expires_and_one_of_the_mesh_goes_on(own_doors: Doors, method: str) -> None:
    ahead = 0.0
    tokens = AcceptedTokens(own_doors.auth, now=lambda: time.time() + ahead)
    async with echoing(tokens) as channel:

        async def opened(path: str, token: str) -> Any:
            call: Any = channel.stream_stream(f"/lanemesh.v1.{path}")(metadata=(("authorization", f"Bearer {token}"),))
            await call.write(b"a")
            assert await call.read() == b"a"
            return call

        call = await opened(method, own_doors.jwt("run", exp=time.time() + 3_600))
        longer = await opened(method, own_doors.jwt("run", exp=time.time() + 7_200))
        host = await opened("NodeService/Host", own_doors.jwt("node", exp=time.time() + 3_600))
        ahead = 3_700.0
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        fault = fault_of(ended.value)
        assert fault is not None
        assert (fault.code, fault.reason) == (Code.UNAUTHENTICATED, "token-expired")
        for stream in (longer, host):
            await stream.write(b"b")
            assert await stream.read() == b"b"
            await stream.done_writing()
            assert await stream.code() is grpc.StatusCode.OK
