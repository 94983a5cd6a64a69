"""Deployed pipelines: ready before they are run, replaced without a run being dropped, and ready again after a loss."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from lanemesh import Client, Deployed
from lanemesh.client.deployment_info import DeploymentInfo, DeploymentState
from lanemesh.client.results import RunResult
from lanemesh.client.run_host import RunHost
from lanemesh.faults import Code, LanemeshError
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import deployment_pb2, run_pb2, update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.deployments.records import DeploymentRecord
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.store.options import StoreOptions

from rigs.runs import RIGS, Pipeline, chat, line, lines, node, pipeline, response, until

WARM_NODES = RIGS / "warm_nodes.py"
COMPLETED = update_pb2.RUN_STATE_COMPLETED
READY, WARMING, DEGRADED, SUPERSEDED = DeploymentState


def marking(mark: str, journal: Path | str = "", **config: object) -> Pipeline:
    """A chat, two models in a row of one mark, and a response."""
    given = {"mark": mark, "journal": str(journal), **config}
    return line(node("a", "model", "chat", **given), node("b", "model", "a", **given))


async def serve(orchestrator: Orchestrator, name: str) -> NodeServer:
    """A node server in this process that has joined."""
    server = NodeServer(NodeHost([load_file(WARM_NODES)], name=name), orchestrator=orchestrator.address)
    await server.start()
    assert server.registration is not None
    await server.registration.joined.wait()
    return server


@asynccontextmanager
async def mesh_of(*names: str) -> AsyncIterator[tuple[Orchestrator, Client, list[NodeServer]]]:
    """An orchestrator, a client of it, and node servers of these names."""
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    servers: list[NodeServer] = []
    try:
        async with Client(orchestrator.address) as client:
            servers += [await serve(orchestrator, name) for name in names]
            yield orchestrator, client, servers
    finally:
        for server in servers:
            await server.stop()
        await orchestrator.close()


async def in_state(host: RunHost, state: DeploymentState, servers: set[str] | None = None) -> DeploymentInfo:
    """The one deployed pipeline, once it is in a state, and placed on these servers if any are given."""
    async with asyncio.timeout(20):
        while True:
            deployed = (await host.deployments())[0]
            placed = {placement.server for placement in deployed.placements}
            if deployed.state == state and servers in (None, placed):
                return deployed
            await asyncio.sleep(0.02)  # a client gets no event for it


@pytest.mark.conformance("DEP-01")
@pytest.mark.parametrize("spread", [None, "component"])
async def test_a_run_by_name_loads_nothing_anew(spread: str | None, journal: Path) -> None:
    async with Mesh(spread, nodes=[WARM_NODES]) as mesh:  # type: ignore[arg-type]
        deployed = await mesh.deploy("chat", marking("+", journal), settings={"b.mark": "-"})
        assert (deployed.name, deployed.version, deployed.state) == ("chat", 1, READY)
        where = [(placement.component, placement.server) for placement in deployed.placements]
        assert where == ([("a", "a"), ("b", "b")] if spread else [])
        loaded = sorted(lines(journal))
        assert loaded == ["loaded +", "loaded -", "loading +", "loading -"]
        for _ in range(3):
            result = await mesh.run(Deployed("chat"), input="x").result()
            assert (result.state, result.values) == ("completed", ("-+x",))
        assert sorted(lines(journal)) == loaded
        assert (await mesh.run(Deployed("chat"), input="x", settings={"b.mark": "~"}).result()).values == ("~+x",)
        await mesh.undeploy("chat")
        assert await mesh.deployments() == []


@pytest.mark.conformance("DEP-01")
async def test_every_server_that_a_run_may_be_placed_on_is_warm(journal: Path) -> None:
    async with mesh_of("left", "right") as (orchestrator, client, servers):
        deployed = await client.deploy("chat", marking("+", journal))
        where = {(placement.component, placement.server) for placement in deployed.placements}
        assert where == {("a", "left"), ("a", "right"), ("b", "left"), ("b", "right")}
        assert all(not server.host.runs and server.host.idle.is_set() for server in servers)
        assert [server.active_instances for server in orchestrator.registry.servers()] == [0, 0]
        results = await asyncio.gather(*(client.run(Deployed("chat"), input="x").result() for _ in range(20)))
        assert {result.values for result in results} == {("++x",)}
        assert lines(journal).count("loading +") == 2
        servers.append(await serve(orchestrator, "late"))
        await until(lambda: lines(journal).count("loaded +") == 3)
        assert (await in_state(client, READY)).active_runs == 0


@pytest.mark.conformance("DEP-02")
async def test_a_new_version_takes_over_under_load_without_dropping_a_run() -> None:
    async with mesh_of("left", "right") as (_, client, servers):
        await client.deploy("chat", marking("1"))
        old = client.run(Deployed("chat"), open_input=True)
        await old.push("old")
        outputs = old.values()
        assert await anext(outputs) == "11old"

        over = asyncio.Event()
        results: list[RunResult] = []

        async def start_runs() -> None:
            while not over.is_set():
                results.append(await client.run(Deployed("chat"), input="x").result())

        load = [asyncio.create_task(start_runs()) for _ in range(4)]
        for version in range(2, 6):
            before = len(results)
            deployed = await client.deploy("chat", marking(str(version), seconds=0.05))
            assert (deployed.version, deployed.state) == (version, READY)
            assert deployed.active_runs >= 1
            after = await client.run(Deployed("chat"), input="x").result()
            assert after.values == (f"{version}{version}x",)
            await until(lambda before=before: len(results) > before + 4)  # type: ignore[misc]
        over.set()
        await asyncio.gather(*load)

        assert {result.state for result in results} == {"completed"}
        assert {result.values for result in results} == {(f"{version}{version}x",) for version in range(1, 6)}
        await old.push("still")
        await old.end_input()
        assert [value async for value in outputs] == ["11still"]
        await until(lambda: all(len(server.host.warm) == 1 for server in servers))


@pytest.mark.conformance("DEP-02")
async def test_a_superseded_version_can_be_started_by_its_number() -> None:
    async with mesh_of("left") as (_, client, _servers):
        for version in "12":
            await client.deploy("chat", marking(version))
        assert (await client.run(Deployed("chat", 1), input="x").result()).values == ("11x",)
        first = await client.deployment("chat", 1)
        assert (first.state, first.detail) == (SUPERSEDED, "version 2 has replaced it")
        with pytest.raises(LanemeshError, match=r'"chat" has no version 7, or no longer has it; it has 2, 1'):
            await client.run(Deployed("chat", 7), input="x").result()


@pytest.mark.conformance("DEP-03")
async def test_a_version_that_cannot_be_made_ready_leaves_the_one_before() -> None:
    async with mesh_of("left", "right") as (_, client, servers):
        await client.deploy("chat", marking("1"))
        with pytest.raises(LanemeshError) as failed:
            await client.deploy("chat", marking("2", broken=True))
        told = str(failed.value)
        assert told.startswith('"chat" was not deployed, because it cannot be made ready: a (model, on ')
        assert "RuntimeError: there is no model 2; b (model, on " in told
        with pytest.raises(LanemeshError, match="unknown-provider"):
            await client.deploy("chat", line(node("a", "modle", "chat")))
        (deployed,) = await client.deployments()
        assert (deployed.version, deployed.state) == (1, READY)
        assert (await client.run(Deployed("chat"), input="x").result()).values == ("11x",)
        await until(lambda: all(len(server.host.warm) == 1 for server in servers))


@pytest.mark.conformance("DEP-03")
async def test_a_caller_that_goes_away_while_it_deploys_has_deployed_nothing(journal: Path) -> None:
    async with mesh_of("left") as (_, client, servers):
        deploying = asyncio.create_task(client.deploy("chat", marking("1", journal, seconds=3600)))
        await until(lambda: "loading 1" in lines(journal))
        with pytest.raises(LanemeshError, match='"chat" is already being deployed'):
            await client.deploy("chat", marking("2"))
        deploying.cancel()
        await until(lambda: not servers[0].host.warm)
        assert await client.deployments() == []
        assert (await client.deploy("chat", marking("2"))).version == 1


@pytest.mark.conformance("DEP-04")
async def test_a_server_that_is_killed_is_started_again_and_warm_again(journal: Path) -> None:
    async with Mesh("component", nodes=[WARM_NODES]) as mesh:
        before = await mesh.deploy("chat", marking("+", journal))
        pids = {placement.component: placement.pid for placement in before.placements}
        os.kill(pids["b"], signal.SIGKILL)
        await until(lambda: lines(journal).count("loaded +") == 3, 30)
        after = {placement.component: placement.pid for placement in (await in_state(mesh, READY)).placements}
        assert after["a"] == pids["a"]
        assert after["b"] != pids["b"]
        assert (await mesh.run(Deployed("chat"), input="x").result()).values == ("++x",)
        assert lines(journal).count("loading +") == 3


@pytest.mark.conformance("DEP-04")
async def test_a_pipeline_without_servers_is_degraded_until_they_are_back(journal: Path) -> None:
    async with mesh_of("left") as (orchestrator, client, servers):
        await client.deploy("chat", marking("+", journal))
        await servers.pop().stop()
        lost = await in_state(client, DEGRADED)
        assert 'There is no node type "model"' in lost.detail
        assert not lost.placements
        with pytest.raises(
            LanemeshError, match='"chat" is deployed, but node servers that it needs have left'
        ) as refused:
            await client.request("@chat", "x")
        assert (refused.value.fault.code, refused.value.fault.reason) == (Code.UNAVAILABLE, "no-server")
        assert "unknown-provider" in [fault.reason for fault in await client.validate(Deployed("chat"))]
        servers.append(await serve(orchestrator, "left"))
        await in_state(client, READY, {"left"})
        assert lines(journal).count("loaded +") == 2


@pytest.mark.conformance("DEP-04")
async def test_a_server_that_only_keeps_things_warm_drains_at_once() -> None:
    async with mesh_of("left", "right") as (_, client, servers):
        await client.deploy("chat", marking("+"))
        async with asyncio.timeout(2):
            await servers[0].drain()
        await until(lambda: not servers[0].host.warm)
        await in_state(client, READY, {"right"})
        async with asyncio.timeout(5):
            await servers[0].stop()
        assert (await client.run(Deployed("chat"), input="x").result()).values == ("++x",)


class Remembering:
    """A store that outlives an orchestrator."""

    def __init__(self) -> None:
        self.records: list[DeploymentRecord] = []

    async def add(self, name: str, version: int, spec: bytes, created_at: float, folder: str) -> None:
        self.records.append(DeploymentRecord(name, version, spec, created_at, folder))

    async def remove(self, name: str) -> None:
        self.records = [record for record in self.records if record.name != name]

    async def forget(self, versions: Sequence[tuple[str, int]]) -> None:
        self.records = [record for record in self.records if (record.name, record.version) not in versions]

    async def all(self) -> Sequence[DeploymentRecord]:
        return self.records


@pytest.mark.conformance("DEP-05")
async def test_what_is_deployed_outlives_an_orchestrator_with_a_store() -> None:
    store = Remembering()
    first = Orchestrator(embedded=True, nodes=[WARM_NODES], deployment_store=store)
    await first.listen()
    async with Client(first.address) as client:
        for mark in "12":
            await client.deploy("chat", marking(mark))
        await client.deploy("other", marking("o"))
        await client.undeploy("other")
    await first.close()

    second = Orchestrator(embedded=False, deployment_store=store)
    await second.listen()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(second.close)
        client = await stack.enter_async_context(Client(second.address))
        waiting = await in_state(client, DEGRADED)
        assert (waiting.name, waiting.version) == ("chat", 2)
        server = await serve(second, "left")
        stack.push_async_callback(server.stop)
        assert (await in_state(client, READY)).version == 2
        assert (await client.run(Deployed("chat"), input="x").result()).values == ("22x",)
        assert (await client.run(Deployed("chat", 1), input="x").result()).values == ("11x",)
        assert (await client.deploy("chat", marking("3"))).version == 3


@pytest.mark.conformance("DEP-05")
@pytest.mark.parametrize("spread", [None, "service"])
async def test_what_is_deployed_in_a_mesh_with_a_store_is_deployed_again(
    tmp_path: Path, spread: Literal["service"] | None
) -> None:
    for version in (1, 2):
        async with Mesh(spread, nodes=[WARM_NODES], store=tmp_path / "runs.sqlite") as mesh:
            if version == 2:
                assert (await mesh.run(Deployed("chat"), input="x").result()).values == ("11x",)
            assert (await mesh.deploy("chat", marking(str(version)))).version == version
            assert (await mesh.run(Deployed("chat"), input="x").result()).values == (f"{version}{version}x",)


async def test_a_version_that_another_orchestrator_of_the_store_has_deployed_is_refused(tmp_path: Path) -> None:
    store = StoreOptions(location=str(tmp_path / "runs.sqlite"))
    async with Mesh(nodes=[WARM_NODES], store=store) as mesh, Mesh(nodes=[WARM_NODES], store=store) as other:
        await mesh.deploy("chat", marking("1"))
        with pytest.raises(LanemeshError, match="another orchestrator that shares this store") as refused:
            await other.deploy("chat", marking("2"))
        assert refused.value.fault.reason == "deployed-elsewhere"
        assert await other.deployments() == []


async def test_a_store_that_fails_leaves_the_version_before() -> None:
    class Full(Remembering):
        async def add(self, name: str, version: int, spec: bytes, created_at: float, folder: str) -> None:
            if version > 1:
                raise OSError(28, "No space left on device")

    orchestrator = Orchestrator(embedded=True, nodes=[WARM_NODES], deployment_store=Full())
    await orchestrator.deployments.deploy("chat", _spec(marking("1")))
    with pytest.raises(OSError, match="No space"):
        await orchestrator.deployments.deploy("chat", _spec(marking("2")))
    (deployed,) = orchestrator.deployments.all()
    assert (deployed.version, deployed.state) == (1, deployment_pb2.DEPLOYMENT_STATE_READY)
    await until(lambda: len(orchestrator.host.warm) == 1)
    await orchestrator.close()


async def test_what_is_being_made_ready_when_the_mesh_closes_is_given_up(journal: Path) -> None:
    async with Mesh("service", nodes=[WARM_NODES]) as mesh:
        deploying = asyncio.create_task(mesh.deploy("chat", marking("+", journal, seconds=3600)))
        await until(lambda: "loading +" in lines(journal))
    with pytest.raises(LanemeshError, match="the orchestrator stops"):
        await deploying
    with pytest.raises(LanemeshError, match="the orchestrator stops"):
        await mesh.deploy("chat", marking("+"))


def _spec(document: Pipeline) -> run_pb2.RunSpec:
    from lanemesh.client.specs import run_spec

    return run_spec(document, None)


async def test_an_unreachable_server_is_reported_and_not_waited_for() -> None:
    async with mesh_of() as (orchestrator, client, servers):
        with pytest.raises(LanemeshError, match='There is no node type "model"'):
            await client.deploy("chat", marking("+"))
        host = NodeHost([load_file(WARM_NODES)], name="lost")
        server = NodeServer(host, orchestrator=orchestrator.address, advertise="127.0.0.1:1")
        servers.append(server)
        await server.start()
        assert server.registration is not None
        await server.registration.joined.wait()
        with pytest.raises(LanemeshError, match='the node server "lost" is gone'):
            await client.deploy("chat", marking("+"))
        orchestrator.registry.drain(orchestrator.registry.members["lost"])
        with pytest.raises(LanemeshError, match="no node server that accepts runs has the node type of a, b"):
            await client.deploy("chat", marking("+"))


@pytest.mark.asyncio(loop_scope="session")
async def test_runs_by_name_have_the_settings_and_the_timeout_of_the_deployment(host: RunHost) -> None:
    hanging = line(node("a", "hang", "chat"))
    await host.deploy("hang-2", hanging, timeout=0.3)
    result = await host.run(Deployed("hang-2"), input="x").result()
    assert result.error is not None
    assert "its timeout of 0.3 s" in result.error.message
    result = await host.run(Deployed("hang-2"), input="x", timeout=0.2).result()
    assert result.error is not None
    assert "its timeout of 0.2 s" in result.error.message
    detached = await host.start(Deployed("hang-2"), input="x", timeout=60)
    assert (await host.deployments())[0].active_runs == 1
    await host.undeploy("hang-2")
    await detached.cancel("enough")
    assert (await detached.result()).reason == "enough"


@pytest.mark.parametrize(
    ("name", "document", "told"),
    [
        ("Chat", marking("+"), '"Chat" is not a valid name of a deployed pipeline'),
        ("x" * 65, marking("+"), "at most 64"),
        ("chat", Deployed("other"), "not by the name of a deployed pipeline"),
        ("chat", pipeline(chat(), response("chat"), name="n" * 1_100_000), "at most 1,048,576 are deployed"),
    ],
)
async def test_what_cannot_be_deployed_is_refused(name: str, document: Pipeline, told: str) -> None:
    async with mesh_of() as (_, client, _servers):
        with pytest.raises(LanemeshError, match=told):
            await client.deploy(name, document)


async def test_what_cannot_be_started_is_refused() -> None:
    async with mesh_of("left") as (_, client, _servers):
        await client.deploy("chat", marking("+"))
        for ask in (
            client.run(Deployed("chta"), input="x").result(),
            client.start(Deployed("chta"), input="x"),
            client.validate(Deployed("chta")),
            client.undeploy("chta"),
            client.deployment("chta"),
        ):
            with pytest.raises(LanemeshError, match=r'no deployed pipeline "chta"\. Nearest: "chat"') as refused:
                await ask
            assert refused.value.fault.code is Code.NOT_FOUND
        assert await client.validate(Deployed("chat")) == []
        (fault,) = await client.validate(Deployed("chat"), settings={"a.marc": "-"})
        assert (fault.reason, "a.marc" in fault.message) == ("unknown-setting", True)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_version_without_a_name_is_refused(serving: Orchestrator) -> None:
    with pytest.raises(LanemeshError, match="the name of the deployed pipeline is missing"):
        serving.runs.validate(run_pb2.RunSpec(deployment=run_pb2.DeploymentReference(version=3)))
