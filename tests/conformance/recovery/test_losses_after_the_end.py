"""Components that are lost after they or their producers have ended: what had not arrived is emitted again, where a server can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_ITEMS
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.deadlock.snapshot import Snapshot
from lanemesh_orchestrator.runs.active_run import ActiveRun

from rigs.recovered_runs import COMPLETED, FAILED, stretches
from rigs.replicas import Replicas, details
from rigs.runs import lane, node, pipeline, response, until, value_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120), pytest.mark.waits]


async def test_two_that_are_lost_after_they_have_ended_are_placed_again_for_what_had_not_arrived(
    mesh: Replicas,
) -> None:
    """The target takes only a few items before its client reads on, so that the others are in transit when their server is lost."""
    await mesh.have("left", "a", "b")
    held = response(lane("d", buffer_bytes=256))
    middle = [node("c", "steady", lane("source")), node("d", "steady", lane("c"))]
    run = mesh.run(
        pipeline(node("source", "counting", count=3_000), *middle, held), {"source": "left", "c": "a", "d": "a"}
    )
    outputs: list[str] = []
    async with asyncio.timeout(90), run:
        async for update in wire_updates(run):
            if update.WhichOneof("kind") == "output":
                outputs.append(value_of(update.output))
                if len(outputs) == 10:
                    await lanes_ended(the_active_run(mesh))
                    mesh.kill("a")
    assert update.job.state == COMPLETED, update.job
    stretches(outputs, 3_000)


@pytest.mark.parametrize("count", [3_000, 6_000])
async def test_a_component_is_lost_after_a_producer_that_had_ended(mesh: Replicas, count: int) -> None:
    """No server keeps what the producer sent. So the run goes on if all outputs have arrived, and fails otherwise."""
    await mesh.have("left", "a", "b", "e")
    source, c, d = node("source", "counting", count=count), node("c", "steady", "source"), node("d", "steady", "c")
    run = mesh.run(pipeline(source, c, d, response("d")), {"source": "left", "c": "a", "d": "b"})
    all_fit = count < DEFAULT_LIMIT_ITEMS  # into the lane to the client
    async with asyncio.timeout(90), run:
        updates = wire_updates(run)
        await first_output(updates)
        active = the_active_run(mesh)
        while not await has_ended(active, "d.passed>out.text" if all_fit else "c.passed>d.text"):
            pass
        mesh.kill("a")
        await recovered(active, "c", "a")
        mesh.kill("b")
        rest = [update async for update in updates]
    if all_fit:
        outputs = 1 + sum(update.WhichOneof("kind") == "output" for update in rest)
        assert (rest[-1].job.state, outputs) == (COMPLETED, count)
    else:
        assert (rest[-1].job.state, rest[-1].job.error.reason) == (FAILED, "server-lost")
        assert "d has not processed all items that c sent before it was lost" in rest[-1].job.error.message


async def test_three_in_a_row_are_lost_in_their_order_after_they_had_ended(mesh: Replicas) -> None:
    """The second one has delivered everything to the third one, which has not: no server keeps that either."""
    await mesh.have("left", "a", "b", "e", "f")
    middle = [node("c", "steady", "source"), node("d", "steady", "c"), node("e", "steady", "d")]
    document = pipeline(node("source", "counting", count=6_000), *middle, response("e"))
    run = mesh.run(document, {"source": "left", "c": "a", "d": "b", "e": "e"})
    async with asyncio.timeout(60), run:
        updates = wire_updates(run)
        await first_output(updates)
        active = the_active_run(mesh)
        while not await has_ended(active, "d.passed>e.text"):
            pass
        mesh.kill("a")
        await recovered(active, "c", "a")
        mesh.kill("b")
        await recovered(active, "d", "b")
        assert "d" not in active._router.going
        mesh.kill("e")
        rest = [update async for update in updates]
    assert (rest[-1].job.state, rest[-1].job.error.reason) == (FAILED, "server-lost")
    assert "e has not processed all items that d sent before it was lost" in rest[-1].job.error.message


async def test_one_that_has_delivered_everything_is_not_placed_again_for_another_producer(mesh: Replicas) -> None:
    """No server keeps the items of one of its producers. The other producer does not wait for it any more."""
    await mesh.have("left", "a", "b", "e")
    document = pipeline(
        node("source", "counting", count=1_500),
        node("more", "counting", count=1_500),
        node("c", "steady", "source"),
        node("d", "steady", "c", "more"),
        response("d"),
    )
    run = mesh.run(document, {"source": "left", "more": "left", "c": "a", "d": "b"})
    async with asyncio.timeout(60), run:
        updates = wire_updates(run)
        await first_output(updates)
        active = the_active_run(mesh)
        while not await has_ended(active, "d.passed>out.text"):
            pass
        mesh.kill("a")
        await recovered(active, "c", "a")
        mesh.kill("b")
        await recovered(active, "d", "b")
        rest = [update async for update in updates]
    assert rest[-1].job.state == COMPLETED, rest[-1].job
    assert 1 + sum(update.WhichOneof("kind") == "output" for update in rest) == 3_000
    assert not details(rest, "d")


async def test_one_that_is_lost_while_a_producer_that_had_ended_is_placed_again_gets_its_items_anew(
    mesh: Replicas, tmp_path: Path
) -> None:
    await mesh.have("left", "a", "b", "e")
    held_by = tmp_path / "held"
    source, c = node("source", "counting", count=6_000), node("c", "steady", "source", held_by=str(held_by))
    document = pipeline(source, c, node("d", "steady", "c"), response("d"))
    run = mesh.run(document, {"source": "left", "c": "a", "d": "b"})
    outputs: list[str] = []
    async with asyncio.timeout(60), run:
        updates = wire_updates(run)
        outputs.append(value_of((await first_output(updates)).output))
        active = the_active_run(mesh)
        while not await has_ended(active, "c.passed>d.text"):
            pass
        held_by.touch()
        mesh.kill("a")
        await until(lambda: active._recovery is not None and bool(active._recovery.placements["c"].earlier))
        mesh.kill("b")
        await until(lambda: active._recovery is not None and "d" in active._recovery._missing)
        held_by.unlink()
        async for update in updates:
            if update.WhichOneof("kind") == "output":
                outputs.append(value_of(update.output))
    assert update.job.state == COMPLETED, update.job
    stretches(outputs, 6_000)


def the_active_run(mesh: Replicas) -> ActiveRun:
    """The run that has not ended."""
    (active,) = (one for one in mesh.orchestrator.runs.known() if not one.ended.is_set())
    return active


async def recovered(run: ActiveRun, component: str, server: str) -> None:
    """Waits until a run goes on without this server of a component."""
    await until(lambda: run._recovery is not None and server in str(run._recovery._earlier[component]))
    assert run._recovery is not None
    assert run._recovery.task is not None
    await run._recovery.task


async def first_output(updates: AsyncIterator[update_pb2.Update]) -> update_pb2.Update:
    """The next output among the updates of a run."""
    while (update := await anext(updates)).WhichOneof("kind") != "output":
        pass
    return update


async def has_ended(run: ActiveRun, edge_id: str) -> bool:
    """Whether all items of an edge have arrived."""
    probed = [await host.probe(10) for host in run._hosts]
    ends = [edge for answer in probed if answer is not None for edge in answer.edges if not edge.producer_end]
    return any(edge.ended for edge in ends if edge.edge_id == edge_id)


async def lanes_ended(run: ActiveRun) -> None:
    """Waits until every component but the target has emitted everything, and has taken all of its inputs."""
    while True:
        answers = [await host.probe(10) for host in run._hosts]
        snapshot = Snapshot.of(answer for answer in answers if answer is not None)
        last = snapshot.consumers["c.passed>d.text"]
        if all(end.ended for end in snapshot.producers.values()) and last.taken == last.items:
            return
        await asyncio.sleep(0.05)
