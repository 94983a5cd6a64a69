"""The three kinds of servers, what hostile peers send them, and a run that goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from lanemesh import Client
from lanemesh.gpu import GpuArbiter
from lanemesh.gpu.devices import parse_devices
from lanemesh.gpu.server import ArbiterServer
from lanemesh.server.node_server import NodeServer
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import chat, node, pipeline, response, serving

PIPELINE = pipeline(chat(), node("a", "tag", "chat", mark="a"), response("a"))
"""A run of it goes through the orchestrator and the node server, and back."""
KINDS = ("orchestrator", "node server", "arbiter")
MIB = 1024 * 1024
UNARY = {
    "orchestrator": "/lanemesh.v1.RunService/ValidatePipeline",
    "node server": "/lanemesh.v1.NodeService/Describe",
    "arbiter": "/lanemesh.v1.GpuArbiterService/ListDevices",
}
"""A method of each kind of server whose call carries one message."""
STREAMS = {
    "orchestrator": ("RunService/Run", "RegistryService/Register", "NodeService/Host", "NodeService/Exchange"),
    "node server": ("NodeService/Host", "NodeService/Exchange", "NodeService/ExchangeShort"),
    "arbiter": ("GpuArbiterService/Lease",),
}
"""The methods of each kind of server whose calls begin with a frame of the caller."""


@dataclass(frozen=True)
class Servers:
    """An orchestrator, a node server that has joined it, and an arbiter."""

    orchestrator: Orchestrator
    node: NodeServer
    arbiter: ArbiterServer

    def address(self, kind: str) -> str:
        """The "host:port" of one of `KINDS`."""
        return {
            "orchestrator": self.orchestrator.address,
            "node server": self.node.address,
            "arbiter": self.arbiter.address,
        }[kind]

    def port(self, kind: str) -> int:
        """The port of one of `KINDS`."""
        return int(self.address(kind).rpartition(":")[2])


@asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    """The three, in this process."""
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    arbiter = ArbiterServer(GpuArbiter(parse_devices("sim:0=1GiB")))
    await arbiter.start()
    async with serving(orchestrator, "one") as joined:
        yield Servers(orchestrator, joined, arbiter)
    await arbiter.stop()
    await orchestrator.close()


@asynccontextmanager
async def unharmed(mesh: Servers) -> AsyncIterator[None]:
    """A run that goes on around the block, and ends right after it; another one starts and ends then."""
    async with Client(mesh.orchestrator.address) as client:
        async with client.run(PIPELINE, open_input=True) as run:
            await run.push("before")
            yield
            await run.push("after")
            await run.end_input()
            result = await asyncio.wait_for(run.result(), 20)
        assert (result.state, result.values) == ("completed", ("abefore", "aafter"))
        assert (await asyncio.wait_for(client.run(PIPELINE, input="x").result(), 20)).values == ("ax",)


@asynccontextmanager
async def raw(address: str) -> AsyncIterator[Any]:
    """A channel to a server without limits of its own."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=[*options, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call fails."""
    try:
        await asyncio.wait_for(call, 30)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("the call has succeeded")


async def said(port: int, sent: bytes, seconds: float = 10.0) -> bytes:
    """What a server says to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), seconds)
    finally:
        writer.close()
