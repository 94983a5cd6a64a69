"""Recovery: a restartable component whose node server is lost goes on at another one."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh.client.results import RunFailed
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.client.updates import OutputUpdate
from lanemesh.faults import Fault
from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_ITEMS
from lanemesh.text_outputs import each_update
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.cli.output.live_model import LiveModel
from lanemesh_orchestrator.cli.output.render import node_line
from lanemesh_orchestrator.cli.output.run_history import RunHistory
from lanemesh_orchestrator.deadlock.snapshot import Snapshot
from lanemesh_orchestrator.runs import phases
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.host_connection import GrpcConnection
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.runs.verdict import Verdict
from lanemesh_orchestrator.update_json import to_json

from endings import lasting
from repeats import times
from rigs.replicas import Replicas, details, replicas
from rigs.runs import lane, node, node_update, pipeline, response, states, until, value_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120), pytest.mark.waits]

COMPLETED, FAILED, CANCELLED = (
    update_pb2.RUN_STATE_COMPLETED,
    update_pb2.RUN_STATE_FAILED,
    update_pb2.RUN_STATE_CANCELLED,
)
COUNT = times(10_000, 6_000)
SMALL = {"buffer_limit": 64}
"""So that a lane does not hold a whole run."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh() -> AsyncIterator[Replicas]:
    """A mesh whose node servers each test asks for."""
    async with lasting("the mesh of replicas", replicas()) as mesh:
        yield mesh


Followed = tuple[update_pb2.JobUpdate, list[str], list[update_pb2.Update]]
"""The last update of a run, its outputs, and all its updates."""


async def followed(run: Run, *when: tuple[int, Callable[[], object]], pause: float = 0.0) -> Followed:
    """Follows a run to its end, and does each thing when so many outputs have come. `pause` makes the client slow."""
    acts = dict(when)
    outputs: list[str] = []
    updates: list[update_pb2.Update] = []
    async with asyncio.timeout(90), run:
        async for update in wire_updates(run):
            updates.append(update)
            if update.WhichOneof("kind") == "output":
                outputs.append(value_of(update.output))
                if len(outputs) in acts:
                    acts.pop(len(outputs))()
                if pause and len(outputs) % 100 == 0:
                    await asyncio.sleep(pause)
    assert not acts, f"the run was over before: {updates[-1]}"
    return updates[-1].job, outputs, updates


def stretches(outputs: Sequence[str], count: int) -> int:
    """How often it goes back to what had come before; all numbers are there, and in order but for that."""
    numbers = [int(output) for output in outputs]
    assert sorted(set(numbers)) == list(range(count))
    highest, repeated = -1, 0
    for before, number in zip([-1, *numbers], numbers, strict=False):
        repeated += number != before + 1
        assert number == before + 1 or number <= highest + 1
        highest = max(highest, number)
    return repeated


def never_back(updates: Sequence[update_pb2.Update]) -> None:
    """No count of an edge or a node goes backwards."""
    latest: dict[tuple[str, str], int] = {}
    for update in updates:
        match update.WhichOneof("kind"):
            case "edge":
                told = {"sent": update.edge.sent, "consumed": update.edge.consumed}
                name = update.edge.edge_id
            case "node":
                told, name = {"firings": update.node.firings}, update.node.component
            case _:
                continue
        for what, count in told.items():
            assert count >= latest.get((name, what), 0), (name, what)
            latest[name, what] = count


def line(*middle: dict[str, Any], count: int = COUNT) -> dict[str, Any]:
    """A source of numbers, these, and a response after the last, which are never far ahead of a client."""
    last = lane(middle[-1]["id"], **SMALL)
    return pipeline(node("source", "counting", count=count), *middle, response(last))


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

    history, model, told = RunHistory(), LiveModel(), []
    async for batch in mesh.orchestrator.history.batches(run.id, 1):
        assert not isinstance(batch, run_pb2.Gap)
        for message in each_update(batch):
            history.take(message)
            model.take(message)
            told.append(node_line(message.node))
            if message.node.HasField("placement"):
                assert to_json(message)["placement"]["server"] == "b"
    assert "c (steady) ran in b, before in a" in history.lines()
    (shown,) = (placement for placement in history.as_json()["placements"] if placement["component"] == "c")
    assert (shown["server"], shown["earlier"][0]["server"]) == ("b", "a")
    assert model.nodes["c"].server == "b"
    assert 'c: its node server "a" was lost; placed again on "b"' in told

    (recorded,) = (
        placement
        for placement in (await mesh.orchestrator.history.record(run.id)).run.placements
        if placement.component == "c"
    )
    assert (recorded.server, [before.server for before in recorded.earlier]) == ("b", ["a"])


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


async def test_it_may_go_on_where_its_producer_lives(mesh: Replicas) -> None:
    await mesh.have("left", "a")
    run = mesh.run(line(node("c", "steady", lane("source", **SMALL))), {"source": "left", "c": "a"})
    job, outputs, updates = await followed(run, (COUNT // 2, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    stretches(outputs, COUNT)
    assert details(updates, "c") == ['its node server "a" was lost; placed again on "left"']


async def test_a_component_may_be_lost_three_times_and_no_more(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b", "c", "d", "e")
    homes: list[str] = ["a"]

    def kill(name: str) -> Callable[[], None]:
        return lambda: mesh.kill(name)

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


async def test_two_in_a_row_are_lost_together(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    document = line(node("c", "steady", lane("source", **SMALL)), node("d", "steady", lane("c", **SMALL)))
    run = mesh.run(document, {"source": "left", "c": "a", "d": "a"})
    job, outputs, updates = await followed(run, (COUNT // 2, lambda: mesh.kill("a")))
    assert job.state == COMPLETED, job
    stretches(outputs, COUNT)
    assert [len(details(updates, name)) for name in "cd"] == [1, 1]
    never_back(updates)


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
                    await lanes_ended(mesh, run)
                    mesh.kill("a")
    assert update.job.state == COMPLETED, update.job
    stretches(outputs, 3_000)


async def lanes_ended(mesh: Replicas, run: Run) -> None:
    """Waits until every component but the target has emitted everything, and has taken all of its inputs."""
    (active,) = [active for active in mesh.orchestrator.runs.known() if active.id == run.id]
    while True:
        answers = [await host.probe(10) for host in active._hosts]
        snapshot = Snapshot.of(answer for answer in answers if answer is not None)
        last = snapshot.consumers["c.passed>d.text"]
        if all(end.ended for end in snapshot.producers.values()) and last.taken == last.items:
            return
        await asyncio.sleep(0.05)


async def test_two_in_a_row_are_lost_at_once_from_two_servers(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b", "c")
    document = line(node("c", "steady", lane("source", **SMALL)), node("d", "steady", lane("c", **SMALL)))

    def kill() -> None:
        mesh.kill("a")
        mesh.kill("b")

    job, outputs, updates = await followed(
        mesh.run(document, {"source": "left", "c": "a", "d": "b"}), (COUNT // 2, kill)
    )
    assert job.state == COMPLETED, job
    assert sorted(set(map(int, outputs))) == list(range(COUNT))
    never_back(updates)


@pytest.mark.parametrize("first", ["a", "b"])
async def test_two_in_a_row_are_lost_one_after_the_other(mesh: Replicas, first: str) -> None:
    await mesh.have("left", "a", "b", "e")
    document = line(node("c", "steady", lane("source", **SMALL)), node("d", "steady", lane("c", **SMALL)))
    run = mesh.run(document, {"source": "left", "c": "a", "d": "b"})
    second = "b" if first == "a" else "a"
    acts = ((COUNT // 3, lambda: mesh.kill(first)), (2 * COUNT // 3, lambda: mesh.kill(second)))
    job, outputs, updates = await followed(run, *acts)
    assert job.state == COMPLETED, job
    assert sorted(set(map(int, outputs))) == list(range(COUNT))
    never_back(updates)


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


WORDS = [f"word{number:04d}" for number in range(times(400, 160))]


def spelled(*middle: dict[str, Any], last: str) -> dict[str, Any]:
    """Words, spelled, what is between, and put together again."""
    return pipeline(
        {"id": "chat", "provider": "chat"},
        node("spell", "spelling", "chat"),
        *middle,
        node("put", "put", last),
        response("put"),
    )


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


async def test_a_frozen_server_counts_as_lost(mesh: Replicas) -> None:
    await mesh.have("left", "a", "b")
    run = mesh.run(line(node("c", "steady", lane("source", **SMALL))), {"source": "left", "c": "a"})
    job, outputs, updates = await followed(run, (COUNT // 3, lambda: mesh.kill("a", signal.SIGSTOP)))
    assert job.state == COMPLETED, job
    stretches(outputs, COUNT)
    assert len(details(updates, "c")) == 1


@pytest.mark.many
async def test_random_losses_also_while_it_recovers(mesh: Replicas) -> None:
    """One server is lost at a random moment, and up to two more while what it ran is placed again."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    for round_number in range(times(3, 1)):
        alive = {"a", "b", "e", "f"}
        await mesh.have("left", *alive)
        document = line(
            node("c", "steady", lane("source", **SMALL)),
            node("d", "steady_sync", lane("c", **SMALL)),
            node("e", "twice", lane("d", **SMALL)),
            count=4_000,
        )
        homes = {name: chance.choice("abe") for name in "cde"}
        first = chance.randrange(1, 3_000)
        told = f"seed {seed}, round {round_number}"
        outputs: list[int] = []
        updates: list[update_pb2.Update] = []

        def lose(name: str, alive: set[str] = alive) -> None:
            if name in alive and len(alive) > 1:
                alive.discard(name)
                mesh.kill(name)

        async with asyncio.timeout(60), mesh.run(document, {"source": "left", **homes}) as run:
            async for update in wire_updates(run):
                updates.append(update)
                if update.WhichOneof("kind") == "output":
                    outputs.append(int(value_of(update.output)))
                    if len(outputs) == first:
                        lose(chance.choice([*homes.values()]))
                if update.node.state == update_pb2.NODE_STATE_STARTING and len(alive) > 1:
                    victim = chance.choice([update.node.detail.split('"')[-2], *sorted(alive)])
                    asyncio.get_running_loop().call_later(chance.random() / 10, lose, victim)
        assert updates[-1].job.state == COMPLETED, (told, updates[-1].job)
        assert sorted(set(outputs)) == list(range(4_000)), told
        never_back(updates)
