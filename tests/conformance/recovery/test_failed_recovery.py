"""Runs that fail or end although their lost component is restartable: it cannot be placed again, or the run ends before that."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.runs import phases

from rigs.recovered_runs import CANCELLED, FAILED, SMALL, followed, line
from rigs.replicas import Replicas, details
from rigs.runs import lane, node, pipeline, response, value_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120), pytest.mark.waits]


async def test_without_another_server_the_run_fails_at_once(mesh: Replicas) -> None:
    await mesh.have("a")
    began = 0.0

    def kill() -> None:
        nonlocal began
        mesh.kill("a")
        began = time.monotonic()

    document = pipeline({"id": "chat", "provider": "chat"}, node("c", "twice", "chat"), response("c"))
    run = mesh.run(document, {"c": "a"}, inputs=[str(number) for number in range(10_000)])
    job, _, _ = await followed(run, (100, kill))
    assert time.monotonic() - began < 5
    assert job.state == FAILED
    assert 'the node server "a" is gone' in job.error.message
    assert "it ran c; it was not placed again: no node server can host" in job.error.message


async def test_beside_one_that_is_not_restartable_nothing_is_placed_again(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    document = line(node("c", "steady", lane("source", **SMALL)), node("d", "fragile", lane("c", **SMALL)))
    job, _, _ = await followed(
        mesh.run(document, {"source": "left", "c": "a", "d": "a"}), (500, lambda: mesh.kill("a"))
    )
    assert job.state == FAILED
    assert job.error.message.endswith(
        "it ran c, d; it was not placed again, because d is of a node type that is not restartable"
    )


async def test_a_component_may_be_lost_three_times_and_no_more(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b", "c", "d", "e")
    homes: list[str] = ["a"]

    run = mesh.run(line(node("c", "steady", lane("source", **SMALL)), count=40_000), {"source": "left", "c": "a"})
    job: update_pb2.JobUpdate | None = None
    outputs: list[str] = []
    updates: list[update_pb2.Update] = []
    due = 1_000
    async with asyncio.timeout(90), run:
        async for update in wire_updates(run):
            updates.append(update)
            if update.WhichOneof("kind") == "output":
                outputs.append(value_of(update.output))
                if homes[-1] and len(outputs) >= due and len(homes) < 5:
                    mesh.kill(homes[-1])
                    homes.append("")
            if update.WhichOneof("kind") == "node" and "placed again" in update.node.detail:
                homes[-1] = update.node.detail.split('"')[-2]
                due = len(outputs) + 1_000
        job = updates[-1].job
    assert job.state == FAILED
    assert "c was placed again 3 times already" in job.error.message
    assert len(details(updates, "c")) == 3


async def test_of_two_losses_in_a_row_the_error_names_the_last_one(mesh: Replicas, tmp_path: Path) -> None:
    await mesh.have("a", "b")
    held_by = tmp_path / "held"
    document = pipeline(
        {"id": "chat", "provider": "chat"}, node("c", "steady", "chat", held_by=str(held_by)), response("c")
    )
    run = mesh.run(document, {"c": "a"}, inputs=[str(number) for number in range(10_000)])
    killed = False
    async with asyncio.timeout(90), run:
        async for update in wire_updates(run):
            if update.WhichOneof("kind") == "output" and not held_by.exists():
                held_by.touch()
                mesh.kill("a")
            if update.node.HasField("placement") and not killed:
                killed = True
                mesh.kill("b")
        job = update.job
    assert job.state == FAILED
    assert job.error.details["server"] == "b", job
    assert 'the node server "b" is gone' in job.error.message


async def test_servers_that_do_not_place_it_again_in_time_are_not_waited_for(
    mesh: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mesh.have("left", "a", "b")
    held_by = tmp_path / "held"
    document = line(node("c", "steady", lane("source", **SMALL), held_by=str(held_by)))

    def lose() -> None:
        monkeypatch.setattr(phases, "PLACE_TIMEOUT", 0.3)
        held_by.touch()
        mesh.kill("a")

    job, _, updates = await followed(mesh.run(document, {"source": "left", "c": "a"}), (100, lose))
    held_by.unlink()
    assert job.state == FAILED
    assert "it was not placed again: no node server can host" in job.error.message
    assert [detail[-6:] for detail in details(updates, "c")] == ['on "b"', '"left"']


@pytest.mark.timing
async def test_a_cancelled_run_ends_while_it_recovers(mesh: Replicas, tmp_path: Path) -> None:
    await mesh.have("left", "a", "b")
    held_by = tmp_path / "held"
    document = line(node("c", "steady", lane("source", **SMALL), held_by=str(held_by)))
    run = mesh.run(document, {"source": "left", "c": "a"})
    began = 0.0
    job = update_pb2.JobUpdate()
    outputs = 0
    async with asyncio.timeout(60), run:
        async for update in wire_updates(run):
            job = update.job
            outputs += update.WhichOneof("kind") == "output"
            if outputs == 100:
                outputs += 1
                held_by.touch()
                mesh.kill("a")
            if update.node.state == update_pb2.NODE_STATE_STARTING:
                began = time.monotonic()
                await run.cancel("enough")
    assert job.state == CANCELLED
    assert 0 < time.monotonic() - began < 3


async def test_a_run_whose_time_is_over_ends_while_it_recovers(mesh: Replicas, tmp_path: Path) -> None:
    await mesh.have("left", "a", "b")
    held_by = tmp_path / "held"

    def kill() -> None:
        held_by.touch()
        mesh.kill("a")

    document = line(node("c", "steady", lane("source", **SMALL), held_by=str(held_by)))
    job, _, updates = await followed(mesh.run(document, {"source": "left", "c": "a"}, timeout=8.0), (100, kill))
    assert job.state == FAILED
    assert job.error.message.startswith("the run took longer than its timeout of 8 s")
    assert len(details(updates, "c")) == 1
