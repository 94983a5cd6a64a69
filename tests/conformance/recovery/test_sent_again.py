"""What the producers of a lost component send again, and what is not done again."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import Fault
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.runs.verdict import Verdict

from repeats import times
from rigs.recovered_runs import COMPLETED, FAILED, SMALL, followed, line, stretches
from rigs.replicas import Replicas, details
from rigs.runs import lane, node, pipeline, response, states

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120), pytest.mark.waits]


async def test_a_producer_that_has_ended_sends_again(mesh: Replicas) -> None:
    """All that it sent waits for a slow component."""
    await mesh.have("left", "a", "b")
    run = mesh.run(line(node("c", "steady", "source", pause=0.005), count=400), {"source": "left", "c": "a"})
    job, outputs, updates = await followed(run, (100, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    stretches(outputs, 400)
    ended = [update.sequence for update in updates if update.node.component == "source"][-1]
    again = [update.sequence for update in updates if update.node.component == "c" and update.node.detail]
    assert ended < again[0]


async def test_what_a_lost_component_had_given_to_another_lost_one_is_not_lost(mesh: Replicas) -> None:
    """The first of two in a row has processed all, which waits for the second one."""
    await mesh.have("left", "a", "b")
    document = line(node("c", "steady", "source"), node("d", "steady", "c", pause=0.005), count=400)
    run = mesh.run(document, {"source": "left", "c": "a", "d": "a"})
    job, outputs, updates = await followed(run, (100, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    stretches(outputs, 400)
    assert [len(details(updates, name)) for name in "cd"] == [1, 1]


async def test_what_was_done_before_the_loss_is_not_done_again(mesh: Replicas) -> None:
    """The component has ended, and its server still runs another one."""
    await mesh.have("left", "a", "b")
    document = pipeline(
        node("source", "counting", count=10),
        node("more", "counting", count=400),
        node("quick", "steady", "source"),
        node("slow", "steady", "more", pause=0.005),
        response("quick", "slow"),
    )
    run = mesh.run(document, {"source": "left", "more": "left", "quick": "a", "slow": "a"})
    job, outputs, updates = await followed(run, (200, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    counts = Counter(outputs)
    assert sorted(map(int, counts)) == list(range(400))
    assert [states(updates, "quick"), len(details(updates, "slow"))] == [["RUNNING", "COMPLETED"], 1]


async def test_several_producers_and_several_consumers(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    document = pipeline(
        node("odd", "counting", count=1_500),
        node("even", "counting", count=1_500),
        node("c", "twice", lane("odd", **SMALL), lane("even", **SMALL)),
        response("c", name="one"),
        response("c", name="two"),
    )
    run = mesh.run(document, {"odd": "left", "even": "b", "c": "a"})
    job, outputs, _ = await followed(run, (4_000, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    counts = Counter(outputs)
    assert sorted(map(int, counts)) == list(range(1_500))
    assert min(counts.values()) >= 8  # twice of each producer at each response


@pytest.mark.parametrize("first", ["loss", "lane"])
async def test_more_than_is_kept_cannot_be_sent_again(
    mesh: Replicas, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orchestrator may detect the loss before or after the producer has failed by its lane."""
    failed = asyncio.Event()
    lose, add, tasks = HostHandle.lose, Verdict.add, set[asyncio.Task[None]]()

    def add_and_notify(verdict: Verdict, *faults: Fault) -> None:
        add(verdict, *faults)
        failed.set()

    async def lose_after_failure(host: HostHandle, fault: Fault) -> None:
        await failed.wait()
        lose(host, fault)

    if first == "lane":
        monkeypatch.setattr(Verdict, "add", add_and_notify)
        monkeypatch.setattr(
            HostHandle, "lose", lambda *of: tasks.add(asyncio.create_task(lose_after_failure(*of), name="loss"))
        )
    await mesh.have("left", "a", "b")
    deep = {"buffer_limit": 200_000, "buffer_bytes": 1 << 24}
    document = line(node("c", "steady", lane("source", **deep), pause=0.01), count=150_000)
    run = mesh.run(document, {"source": "left", "c": "a"})
    job, killed = update_pb2.JobUpdate(), False
    async with asyncio.timeout(90), run:
        async for update in wire_updates(run):
            job = update.job
            if not killed and update.edge.sent - update.edge.consumed > 110_000:
                killed = True
                mesh.kill("a")
    await asyncio.gather(*tasks)
    assert job.state == FAILED
    assert "it ran c; it was not placed again: the lane source.number>c.text cannot be sent again" in job.error.message
    assert "at most 100,000 of them or 67,108,864 bytes are kept" in job.error.message


WORDS = [f"word{number:04d}" for number in range(times(400, 160))]


async def test_groups_that_a_lost_component_had_opened_end_with_an_error(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    document = pipeline(
        {"id": "chat", "provider": "chat"},
        node("spell", "spelling", lane("chat", **SMALL), pause=0.001),
        node("put", "put", "spell"),
        response("put"),
    )
    run = mesh.run(document, {"spell": "a", "put": "left"}, inputs=WORDS)
    job, outputs, _ = await followed(run, (len(WORDS) // 3, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    assert set(outputs) == set(WORDS)  # no broken whole among them


async def test_groups_that_a_lost_component_passed_on_stay_whole(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    document = pipeline(
        {"id": "chat", "provider": "chat"},
        node("spell", "spelling", "chat"),
        node("c", "steady", lane("spell", **SMALL), pause=0.0005),
        node("put", "put", "c"),
        response("put"),
    )
    run = mesh.run(document, {"spell": "left", "c": "a", "put": "left"}, inputs=WORDS)
    job, outputs, _ = await followed(run, (len(WORDS) // 3, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    assert outputs == WORDS
