"""The tools of a gRPC server elsewhere."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lanemesh import ToolCall, ToolProgress, ToolResult
from lanemesh.faults import LanemeshError
from lanemesh.permissions import Permissions
from lanemesh.v1 import control_pb2, control_pb2_grpc, lane_pb2
from lanemesh_services.tools.grpc_tools import ToolGrpc

from .conftest import loaded, result_of, value_of


@dataclass
class Server(control_pb2_grpc.ToolServiceServicer):
    """A server of tools that knows nothing of Lanemesh but the protocol."""

    names: list[str] = field(default_factory=lambda: ["echo", "hang"])
    token: str = ""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def ListTools(self, request: Any, context: Any) -> control_pb2.ListToolsResponse:
        await self._authorise(context)
        specs = [lane_pb2.ToolSpec(name=name, parameters_json='{"type": "object"}') for name in self.names]
        return control_pb2.ListToolsResponse(tools=specs)

    async def CallTool(self, request: Any, context: Any) -> AsyncIterator[control_pb2.CallToolResponse]:
        await self._authorise(context)
        yield control_pb2.CallToolResponse(progress=control_pb2.ToolProgress(message="begun"))
        self.called.set()
        if request.name == "hang":
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        result = control_pb2.ToolResult(content_json=request.arguments_json)
        yield control_pb2.CallToolResponse(result=result)

    async def _authorise(self, context: Any) -> None:
        if self.token and dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.token}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no valid token")


Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves tools on this machine; returns the address."""
    servers: list[grpc.aio.Server] = []

    async def start(served: Server, credentials: grpc.ServerCredentials | None = None) -> str:
        server = grpc.aio.server()
        control_pb2_grpc.add_ToolServiceServicer_to_server(served, server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(0)


def certificate(folder: Path) -> tuple[Path, grpc.ServerCredentials]:
    """A certificate for "tools.test", and the credentials of its server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tools.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("tools.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "ca.pem"
    path.write_bytes(pem)
    return path, grpc.ssl_server_credentials([(secret, pem)])


async def test_happy_its_tools_are_listed_and_called(serve: Serve) -> None:
    tools = await loaded(ToolGrpc, address=await serve(Server()))

    assert [spec.name for spec in await tools.specs()] == ["echo", "hang"]
    call = ToolCall("7", "echo", json.dumps({"a": 1}))
    progress, result = [event async for event in tools.stream(call)]
    assert progress == ToolProgress("begun", None, "7")
    assert isinstance(result, ToolResult)
    assert (result.value, result.call_id, result.name) == ({"a": 1}, "7", "echo")


async def test_happy_by_tls_with_a_token(serve: Serve, tmp_path: Path) -> None:
    ca, credentials = certificate(tmp_path)
    address = await serve(Server(token="s3cret"), credentials)
    config: dict[str, Any] = {"address": address, "tls": True, "ca": str(ca), "server_name": "tools.test"}

    assert await value_of(await loaded(ToolGrpc, **config, token="s3cret"), "echo", a=2) == {"a": 2}
    with pytest.raises(LanemeshError, match=r"no valid token \(UNAUTHENTICATED\)"):
        await (await loaded(ToolGrpc, **config)).specs()


async def test_happy_some_of_its_tools(serve: Serve) -> None:
    tools = await loaded(ToolGrpc, address=await serve(Server(["echo", "a b", "hang"])), tools=["echo"])
    assert [spec.name for spec in await tools.specs()] == ["echo"]
    with pytest.raises(LanemeshError, match='there is no tool "hang"'):
        await result_of(tools, "hang")


async def test_error_an_address_that_the_node_server_does_not_permit(serve: Serve) -> None:
    address = await serve(Server())
    tools = await loaded(ToolGrpc, permissions=Permissions.of([f"host:{address}"]), address=address)
    assert await value_of(tools, "echo") == {}
    tools = await loaded(ToolGrpc, permissions=Permissions.of(["host:127.0.0.1:1"]), address=address)
    with pytest.raises(LanemeshError, match=f"does not permit it to connect to {address}.*--allow host:{address}"):
        await tools.specs()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"address": "nowhere"}, "is not an address: write HOST:PORT"),
        ({"address": "tools.example.com:1", "token": "t"}, "would be sent without encryption. Set tls"),
        ({"address": "localhost:1", "ca": "/gone.pem"}, "config.ca names a file that cannot be read"),
    ],
)
async def test_error_settings_that_cannot_be_used(config: dict[str, Any], said: str) -> None:
    with pytest.raises(LanemeshError, match=said):
        await loaded(ToolGrpc, **config)


async def test_error_a_server_with_too_many_tools_or_without_the_named_ones(serve: Serve) -> None:
    address = await serve(Server([f"tool_{number}" for number in range(5_000)]))
    with pytest.raises(LanemeshError, match=r"has 5,000 tools; the limit is 500. Name the tools"):
        await (await loaded(ToolGrpc, address=address)).specs()
    assert len(await (await loaded(ToolGrpc, address=address, tools=["tool_7"])).specs()) == 1
    with pytest.raises(LanemeshError, match=r"config.tools names gone, which the server does not have"):
        await (await loaded(ToolGrpc, address=address, tools=["gone"])).specs()


async def test_error_a_slow_tool(serve: Serve) -> None:
    server = Server()
    tools = await loaded(ToolGrpc, address=await serve(server), timeout=0.2)
    with pytest.raises(LanemeshError, match=r"did not end within 0.2 s"):
        await result_of(tools, "hang")
    await asyncio.wait_for(server.cancelled.wait(), 10)


async def test_shutdown_a_cancelled_call_is_cancelled_at_the_server(serve: Serve) -> None:
    server = Server()
    tools = await loaded(ToolGrpc, address=await serve(server))
    task = asyncio.create_task(result_of(tools, "hang"))
    await asyncio.wait_for(server.called.wait(), 5)
    task.cancel()
    await asyncio.wait_for(server.cancelled.wait(), 10)
