"""Node servers in runs: killed, frozen, unreachable, replaced; helpers and leases across them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest
from lanemesh import Client
from lanemesh.channels import Channels
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.control.grpc_link import GrpcLink
from lanemesh.faults import LanemeshError
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import ServerAddress

from rigs.forked import ForkedProcess, forked
from rigs.ports import free_port
from rigs.runs import (
    NODES,
    Component,
    chat,
    ended,
    line,
    lines,
    node,
    pipeline,
    response,
    serving,
    states,
    until,
)

COMPLETED, FAILED = update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED


async def pid_of(mesh: Mesh, server: str) -> int:
    """The process of a node server."""
    return next(listed.pid or 0 for listed in await mesh.node_servers() if listed.name == server)


@asynccontextmanager
async def broken_off(run: Run, pid: int, number: signal.Signals) -> AsyncIterator[list[update_pb2.Update]]:
    """A run whose node server gets a signal once the run's first output is there; its further updates."""
    updates: list[update_pb2.Update] = []
    async with run:
        stream = wire_updates(run)
        async for update in stream:
            updates.append(update)
            if update.WhichOneof("kind") == "output":
                break
        os.kill(pid, number)
        async for update in stream:
            updates.append(update)
        yield updates


@pytest.mark.conformance("RUN-08")
async def test_a_killed_node_server_fails_its_runs_and_no_others() -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        middle = [node("a", "tag", "chat"), node("b", "tag", "a"), node("c", "tag", "b")]
        assert (await mesh.run(line(*middle), input="x").result()).values == ("x",)
        other = mesh.run(line(node("a", "tag", "chat")), open_input=True)
        await other.push("y")
        others = other.values()
        assert await anext(others) == "y"

        began = time.monotonic()
        run = mesh.run(line(*middle), input="x", open_input=True)
        async with broken_off(run, await pid_of(mesh, "b"), signal.SIGKILL) as updates:
            assert time.monotonic() - began < 5
            job = updates[-1].job
            assert job.state == FAILED
            assert 'the node server "b" is gone' in job.error.message
            assert job.error.message.endswith("it ran b")

        await other.push("z")
        await other.end_input()
        assert [value async for value in others] == ["z"]
        again = await mesh.run(line(*middle), input="x").result()  # by a new process
        assert (again.state, again.values) == ("completed", ("x",))


async def test_a_node_server_that_is_killed_while_it_loads_fails_the_run(journal: Path) -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        run = mesh.run(line(node("a", "slow_load", "chat", journal=str(journal)), node("b", "tag", "a")), input="x")
        ending = asyncio.create_task(ended(run))
        await until(lambda: lines(journal) == ["loading"])
        os.kill(await pid_of(mesh, "a"), signal.SIGKILL)
        result, updates = await asyncio.wait_for(ending, 5)
        assert result.state == "failed"
        assert result.error is not None
        assert result.error.message.startswith('the node server "a" is gone')
        assert result.error.details["components"] == "a"
        assert not any(update.WhichOneof("kind") == "node" for update in updates)


@pytest.mark.waits
async def test_a_frozen_node_server_fails_its_runs() -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        document = line(node("a", "tag", "chat"))
        assert (await mesh.run(document, input="x").result()).values == ("x",)
        began = time.monotonic()
        run = mesh.run(document, input="x", open_input=True)
        async with broken_off(run, await pid_of(mesh, "a"), signal.SIGSTOP) as updates:
            assert updates[-1].job.state == FAILED
            assert 'the node server "a" is gone' in updates[-1].job.error.message
        assert time.monotonic() - began < 30


@pytest.mark.usefixtures("new_interpreters")
async def test_a_component_of_another_service_gets_a_server_of_its_own() -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        assert (await mesh.run(line(node("a", "tag", "chat")), input="x").result()).values == ("x",)
        assert (await mesh.run(line(node("a", "upper_case", "chat")), input="x").result()).values == ("X",)


def asking(journal: Path, *, helper: str = "oracle") -> list[Component]:
    """A chat, an asker with its model, and a response."""
    model = {**node("model", helper), "control": [{"classType": "llm", "from": "asker"}]}
    return [chat(), node("asker", "asker", "chat", journal=str(journal)), model, response("asker")]


@pytest.mark.conformance("CTRL-02")
async def test_helpers_are_reached_before_the_run_starts(journal: Path) -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        result, updates = await ended(mesh.run(pipeline(*asking(journal)), input="?"))
        assert (result.state, result.values) == ("completed", ("yes", "0"))  # no tool is wired, and none is needed
        assert states(updates, "asker") == ["RUNNING", "COMPLETED"]
        placements = {placement.component: placement.pid for update in updates for placement in update.job.placements}
        assert placements["asker"] != placements["model"]


@pytest.mark.conformance("CTRL-02")
async def test_a_helper_that_cannot_be_reached_fails_the_run_before_any_node_runs(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orchestrator reaches the helper's server, and the invoker's server does not."""
    monkeypatch.setitem(GrpcLink.__init__.__kwdefaults__, "reach_seconds", 0.5)  # type: ignore[arg-type]
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with serving(orchestrator, "askers") as askers, serving(orchestrator, "models") as models:
        from lanemesh_orchestrator.runs.active_run import ActiveRun
        from lanemesh_orchestrator.runs.link import LocalRunLink
        from lanemesh_orchestrator.runs.run_options import RunOptions
        from lanemesh_orchestrator.scheduling.assignment import Assignment

        graph = orchestrator.runs.validate(_spec(pipeline(*asking(journal))))
        told = Assignment.servers

        def servers(placing: Assignment) -> dict[str, ServerAddress]:
            return {**told(placing), "model": ServerAddress("models", "127.0.0.1:1")}

        monkeypatch.setattr(Assignment, "servers", servers)

        async def begin() -> ActiveRun:
            return orchestrator.runs.start(graph, RunOptions(homes={"asker": "askers", "model": "models"}))

        result, updates = await ended(
            Run(LocalRunLink(begin, lambda _: Channels(lambda: orchestrator.channels)), ["?"])
        )
        assert result.state == "failed"
        assert result.error is not None
        assert result.error.reason == "helper-unreachable"
        assert "asker called the llm helper model at 127.0.0.1:1: it cannot be reached" in result.error.message
        assert not any(update.WhichOneof("kind") == "node" for update in updates)
        assert update_pb2.RUN_STATE_RUNNING not in {update.job.state for update in updates}
        assert lines(journal) == []
        assert not askers.host.runs
        assert not models.host.runs
    await orchestrator.close()


def _spec(document: dict[str, object]) -> run_pb2.RunSpec:
    from lanemesh.client.specs import run_spec

    return run_spec(document, None)


async def test_a_server_with_an_unreachable_address_fails_the_run_and_is_named() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with serving(orchestrator, "lost", advertise="127.0.0.1:1"), Client(orchestrator.address) as client:
        result, updates = await ended(client.run(line(node("a", "tag", "chat")), input="x"))
        assert result.state == "failed"
        assert result.error is not None
        assert 'the node server "lost" is gone' in result.error.message
        assert not any(update.WhichOneof("kind") == "node" for update in updates)
    await orchestrator.close()


@asynccontextmanager
async def served(port: int) -> AsyncIterator[ForkedProcess]:
    """An orchestrator of its own process."""
    process = await forked("serve", "--port", str(port), stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.conformance("RUN-09")
async def test_a_dead_orchestrator_cancels_its_runs_at_the_servers_which_join_again(journal: Path) -> None:
    port = free_port()
    server = NodeServer(NodeHost([load_file(NODES)], name="n"), orchestrator=f"127.0.0.1:{port}")
    await server.start()
    joined = server.registration.joined if server.registration is not None else asyncio.Event()
    async with served(port) as first, Client(f"127.0.0.1:{port}") as client:
        await asyncio.wait_for(joined.wait(), 20)
        run = client.run(line(node("a", "hang", "chat", journal=str(journal))), input="x", open_input=True)
        assert await anext(run.values()) == "begun"
        first.kill()
        began = time.monotonic()
        await until(lambda: not server.host.runs)
        assert time.monotonic() - began < 5
        assert lines(journal) == ["begun a", "finalize a"]
        await until(lambda: not joined.is_set())
    async with served(port), Client(f"127.0.0.1:{port}") as client:
        await asyncio.wait_for(joined.wait(), 20)
        assert (await client.run(line(node("a", "tag", "chat")), input="x").result()).values == ("x",)
        await server.stop()


@pytest.mark.conformance("RUN-11")
async def test_a_draining_server_ends_what_it_has_and_takes_nothing_new() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    document = line(node("a", "tag", "chat"))
    async with serving(orchestrator, "old") as old, Client(orchestrator.address) as client:
        run = client.run(document, open_input=True)
        await run.push("1")
        outputs = run.values()
        assert await anext(outputs) == "1"
        draining = asyncio.create_task(old.drain())
        await until(lambda: orchestrator.registry.members["old"].draining)
        async with serving(orchestrator, "new") as new:
            _, updates = await ended(client.run(document, input="x"))
            assert {place.server for update in updates for place in update.job.placements} == {"orchestrator", "new"}
            assert not new.host.runs
        assert not draining.done()
        await run.push("2")
        await run.end_input()
        assert [value async for value in outputs] == ["2"]
        await asyncio.wait_for(draining, 5)
        with pytest.raises(LanemeshError, match="every node server that runs it is draining"):
            await client.run(document, input="x").result()
    await orchestrator.close()


@pytest.mark.conformance("GPU-01")
async def test_components_on_different_servers_never_hold_the_lease_at_once(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANEMESH_GPUS", "sim:0=24GiB")
    async with Mesh("component", nodes=[NODES]) as mesh:
        both = pipeline(
            chat(),
            node("a", "on_gpu", "chat", journal=str(journal)),
            node("b", "on_gpu", "chat", journal=str(journal)),
            node("c", "on_gpu_sync", "chat", journal=str(journal)),
            response("a", "b", "c"),
        )
        result = await mesh.run(both, input="x", timeout=30).result()
        assert sorted(result.values) == ["a", "b", "sim:0"]
        assert mesh.orchestrator.gpu_arbiter
    holding: set[str] = set()
    for entry in sorted(lines(journal), key=lambda text: int(text.split()[0])):
        sign, component = entry.split()[1][0], entry.split()[1][1:]
        if sign == "+":
            assert not holding
            holding.add(component)
        elif component != "c":
            holding.remove(component)
        if component == "c":
            holding.clear()
    assert {entry.split()[1][1:] for entry in lines(journal)} == {"a", "b", "c"}


async def test_without_devices_no_arbiter_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh.gpu.find_devices", list)
    async with Mesh("service", nodes=[NODES]) as mesh:
        assert (await mesh.run(line(node("a", "tag", "chat")), input="x").result()).values == ("x",)
        assert mesh.orchestrator.gpu_arbiter == ""
