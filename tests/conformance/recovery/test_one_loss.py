"""A restartable component whose node server is lost goes on at another one."""

from __future__ import annotations

import asyncio
import signal

import pytest
from lanemesh.client.results import RunFailed
from lanemesh.client.updates import OutputUpdate
from lanemesh.text_outputs import each_update
from lanemesh.v1 import run_pb2
from lanemesh_orchestrator.cli.output.live_model import LiveModel
from lanemesh_orchestrator.cli.output.render import node_line
from lanemesh_orchestrator.cli.output.run_history import RunHistory
from lanemesh_orchestrator.runs.host_connection import GrpcConnection
from lanemesh_orchestrator.update_json import to_json

from rigs.recovered_runs import COMPLETED, COUNT, SMALL, followed, line, never_back, stretches
from rigs.replicas import Replicas, details
from rigs.runs import lane, node, node_update, pipeline, response, states

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120), pytest.mark.waits]


@pytest.mark.parametrize("provider", ["steady", "steady_sync"])
async def test_a_restartable_component_goes_on_at_another_server(mesh: Replicas, provider: str) -> None:
    await mesh.have("left", "a", "b")
    run = mesh.run(line(node("c", provider, lane("source", **SMALL))), {"source": "left", "c": "a"})
    job, outputs, updates = await followed(run, (COUNT // 3, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    assert stretches(outputs, COUNT) <= 1
    assert len(outputs) < COUNT + 5_000
    assert details(updates, "c") == ['its node server "a" was lost; placed again on "b"']
    assert states(updates, "c") == ["RUNNING", "STARTING", "RUNNING", "COMPLETED"]
    never_back(updates)
    fed = [update.edge for update in updates if update.edge.edge_id == "source.number>c.text"][-1]
    assert (fed.drained, fed.sent - fed.consumed) == (True, 0)
    assert fed.consumed == COUNT
    assert node_update(updates, "c").firings > COUNT // 2


async def test_it_may_go_on_where_its_producer_lives(mesh: Replicas) -> None:
    await mesh.have("left", "a")
    run = mesh.run(line(node("c", "steady", lane("source", **SMALL))), {"source": "left", "c": "a"})
    job, outputs, updates = await followed(run, (COUNT // 2, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    stretches(outputs, COUNT)
    assert details(updates, "c") == ['its node server "a" was lost; placed again on "left"']


async def test_a_frozen_server_counts_as_lost(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    run = mesh.run(line(node("c", "steady", lane("source", **SMALL))), {"source": "left", "c": "a"})
    job, outputs, updates = await followed(run, (COUNT // 3, lambda: mesh.kill("a", signal.SIGSTOP)))
    assert job.state == COMPLETED, job
    stretches(outputs, COUNT)
    assert len(details(updates, "c")) == 1


async def test_a_server_that_loses_its_orchestrator_alone_loses_nothing(mesh: Replicas) -> None:
    """It cancels its part of the run, and its lanes end before anybody else knows of the loss."""
    await mesh.have("left", "a", "b")
    run = mesh.run(
        line(node("c", "steady", lane("source", **SMALL), pause=0.001), count=1_500), {"source": "left", "c": "a"}
    )

    def part() -> None:
        (active,) = (one for one in mesh.orchestrator.runs.known() if not one.ended.is_set())
        connection = active._hosts.by_name["a"]._connection
        assert isinstance(connection, GrpcConnection)
        connection._stream.call.cancel()

    job, outputs, updates = await followed(run, (500, part))
    assert job.state == COMPLETED, job
    stretches(outputs, 1_500)
    assert details(updates, "c") == ['its node server "a" was lost; placed again on "b"']


async def test_a_slow_client_holds_it_as_ever(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    document = pipeline(
        node("source", "counting", count=3_000),
        node("c", "steady", lane("source", **SMALL)),
        response(lane("c", **SMALL)),
    )
    run = mesh.run(document, {"source": "left", "c": "a"})
    job, outputs, _ = await followed(run, (500, lambda: mesh.kill("a")), pause=0.05)
    assert job.state == COMPLETED, job
    assert stretches(outputs, 3_000) <= 1
    assert len(outputs) < 3_000 + 1_000


async def test_the_servers_before_and_after_a_loss_are_named_everywhere(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    run = mesh.run(
        line(node("c", "steady", lane("source", **SMALL), pause=0.001, fails_at="1000"), count=1_500),
        {"source": "left", "c": "a"},
    )
    async with asyncio.timeout(90), run:
        result = asyncio.create_task(run.result())
        seen = 0
        async for update in run.updates():
            seen += isinstance(update, OutputUpdate)
            if isinstance(update, OutputUpdate) and seen == 300:
                mesh.kill("a")
        ended = await result
    assert ended.error is not None
    assert ended.error.details["server"] == "b"
    assert "server b" in str(RunFailed(ended.error))
    (placed,) = (placement for placement in ended.placements if placement.component == "c")
    assert (placed.server, [before.server for before in placed.earlier]) == ("b", ["a"])
    assert placed.pid == mesh.processes["b"].pid

    history, model, lines = RunHistory(), LiveModel(), []
    async for batch in mesh.orchestrator.history.batches(run.id, 1):
        assert not isinstance(batch, run_pb2.Gap)
        for message in each_update(batch):
            history.take(message)
            model.take(message)
            lines.append(node_line(message.node))
            if message.node.HasField("placement"):
                assert to_json(message)["placement"]["server"] == "b"
    assert "c (steady) ran in b, before in a" in history.lines()
    (shown,) = (placement for placement in history.as_json()["placements"] if placement["component"] == "c")
    assert (shown["server"], shown["earlier"][0]["server"]) == ("b", "a")
    assert model.nodes["c"].server == "b"
    assert 'c: its node server "a" was lost; placed again on "b"' in lines

    (recorded,) = (
        placement
        for placement in (await mesh.orchestrator.history.record(run.id)).run.placements
        if placement.component == "c"
    )
    assert (recorded.server, [before.server for before in recorded.earlier]) == ("b", ["a"])
