"""Components go to the node server that has their model loaded, or on whose devices memory is free."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from lanemesh import Client, Context, Gpu, In, Node, Out
from lanemesh.gpu import EmbeddedLink, GpuArbiter, GpuClient, connect, session
from lanemesh.gpu.server import ArbiterServer
from lanemesh.node.node import Service
from lanemesh.server import gpu_report
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.v1 import gpu_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import at, ended, line, node

GIB = 1 << 30


class Painter(Node):
    """Has a model of 10 GiB."""

    class Config(Node.Config):
        """Which model."""

        style: str = ""

    gpu = Gpu(memory="10GiB")
    text: In[str]
    out: Out[str]

    @classmethod
    async def load_model(cls, config: Config, device: str) -> str:
        return f"{config.style} on {device}"

    @classmethod
    async def unload_model(cls, model: str) -> None:
        pass

    async def process(self, context: Context) -> dict[str, str]:
        return {"out": self.gpu_model}


PAINTERS = Service(name="painters", nodes=(Painter,))


def devices(gibs: int) -> list[gpu_pb2.Device]:
    return [gpu_pb2.Device(id="sim:0", memory_bytes=gibs * GIB)]


@asynccontextmanager
async def mesh_of(own: Mapping[str, int], arbiter: str = "") -> AsyncIterator[tuple[Orchestrator, Client]]:
    """An orchestrator, its client, and node servers that join in this order, each with a device of its own of so many GiB; 0: with
    none. `arbiter`: the address of that of the mesh."""
    orchestrator = Orchestrator(embedded=False, gpu_arbiter=arbiter)
    await orchestrator.listen()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(orchestrator.close)
        for name, gibs in own.items():
            host = NodeHost([PAINTERS], name=name, labels={"name": name})
            if gibs:
                host.gpu_link = EmbeddedLink(GpuArbiter(devices(gibs)))
            server = NodeServer(host, orchestrator=orchestrator.address)
            await server.start()
            stack.push_async_callback(server.stop)
            assert server.registration is not None
            await server.registration.joined.wait()
        yield orchestrator, await stack.enter_async_context(Client(orchestrator.address))


async def until(orchestrator: Orchestrator, holds: Callable[[], object]) -> None:
    """Waits for what the registry knows of GPUs."""
    while not holds():
        await orchestrator.registry.gpu_reports.wait()


async def painter(client: Client, style: str = "", server: str = "") -> tuple[str, str]:
    """Runs a painter, and returns its server and how the run ended."""
    component = node("painter", "painter", "chat", style=style)
    result, updates = await ended(client.run(line(at(server, component) if server else component), input="x"))
    places = next(update.job.placements for update in updates if update.job.placements)
    return next(place.server for place in places if place.component == "painter"), str(result.state)


async def test_a_component_goes_where_its_model_is_loaded_until_that_is_unloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu_report, "REPORT_SECONDS", 0.0)
    arbiter = ArbiterServer(GpuArbiter(devices(24)))
    await arbiter.start()
    async with mesh_of({"a": 0, "b": 0}, arbiter.address) as (orchestrator, client):
        assert await painter(client, "oil") == ("a", "completed")
        assert await painter(client, "ink", server="b") == ("b", "completed")
        members = orchestrator.registry.members
        await until(orchestrator, lambda: members["a"].gpus.settings and members["b"].gpus.settings)
        for style, server in (("ink", "b"), ("oil", "a"), ("ink", "b")):
            assert await painter(client, style) == (server, "completed")
        other = connect(arbiter.address)
        async with GpuClient(other, gpu_pb2.LeaseHolder()).lease(memory="24GiB"):
            await until(orchestrator, lambda: not members["b"].gpus.settings)
        await other.close()
        assert await painter(client, "ink") == ("a", "completed")
    await arbiter.stop()


async def test_a_component_goes_where_its_memory_is_free() -> None:
    async with mesh_of({"small": 8, "large": 24}) as (orchestrator, client):
        members = orchestrator.registry.members
        await until(orchestrator, lambda: members["small"].gpus.devices and members["large"].gpus.devices)
        assert await painter(client) == ("large", "completed")


async def test_components_are_placed_as_ever_while_the_arbiter_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "UNREACHABLE_AFTER", 0.1)
    async with mesh_of({"a": 0, "b": 0}, "127.0.0.1:1") as (_, client):
        assert await painter(client) == ("a", "failed")
