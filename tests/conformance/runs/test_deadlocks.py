"""Runs that would be stuck, and runs that only look so."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.client.specs import run_spec
from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_ITEMS, LOCAL_LIMIT_ITEMS
from lanemesh.server.host import probing
from lanemesh.server.host.hosted_run import HostedRun
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.deadlock import monitor, snapshot
from lanemesh_orchestrator.deadlock.monitor import DeadlockMonitor
from lanemesh_orchestrator.deadlock.snapshot import Snapshot
from lanemesh_orchestrator.runs.host_handle import HostHandle
from lanemesh_orchestrator.runs.run_options import RunOptions

from repeats import FULL, times
from rigs.runs import (
    NODES,
    Component,
    chat,
    ended,
    lane,
    lines,
    node,
    node_update,
    note_down,
    pipeline,
    response,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPLETED, FAILED = update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED
HEALTHY_RUNS = times(10_000, 100)
"""How many healthy runs there are; 10,000 take about a minute."""


def triangle(
    count: int, *, limit: int = 16, total: str = "total", at: str = "of_total", mode: str = ""
) -> list[Component]:
    """`source` sends to `agg`, which counts, and to `b`, which wants the count before it takes anything."""
    meeting = node("b", at, lane("source", input="item", buffer_limit=limit), lane("agg", input="total"))
    if mode:
        meeting["sync_mode"] = mode
    return [node("source", "numbers", count=count), node("agg", total, lane("source", input="items")), meeting]


def edges(updates: Sequence[update_pb2.Update]) -> dict[str, update_pb2.EdgeUpdate]:
    """The last word on each edge."""
    return {update.edge.edge_id: update.edge for update in updates if update.WhichOneof("kind") == "edge"}


def growths(updates: Sequence[update_pb2.Update]) -> dict[str, int]:
    """How often each edge was grown that was."""
    return {name: edge.growths for name, edge in edges(updates).items() if edge.growths}


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Snapshot]:
    """Every look that is taken from now on."""
    taken: list[Snapshot] = []
    look = DeadlockMonitor._probe

    async def noting(self: DeadlockMonitor, seats: object) -> Snapshot:
        taken.append(await look(self, seats))  # type: ignore[arg-type]
        return taken[-1]

    monkeypatch.setattr(DeadlockMonitor, "_probe", noting)
    return taken


def stall(mesh: Mesh, run: Run) -> None:
    """Makes the monitor of a run probe it, as if a node had been waiting for capacity for a while."""
    mesh.orchestrator.runs.get(run.id)._deadlocks.stalled()


@pytest.mark.many
@pytest.mark.conformance("RUN-16")
@pytest.mark.parametrize(
    ("mode", "count", "times"), [("zip_all", *((10_000, 10) if FULL else (2_500, 8))), ("on_any", 1_000, 6)]
)
async def test_reconverging_paths_of_which_one_aggregates_complete(
    mesh: Mesh, mode: str, count: int, times: int
) -> None:
    """The lane is doubled so many times, from 16 on, until it holds all items."""
    document = pipeline(*triangle(count, mode=mode), response("b"))
    result, updates = await ended(mesh.run(document))
    assert result.state == "completed"
    assert result.values == tuple(f"{number} of {count}" for number in range(count))
    lane_id = "source.number>b.item"
    assert growths(updates) == {lane_id: times}
    limit = 16 * 2**times
    grown = edges(updates)[lane_id]
    assert (grown.limit_items, grown.sent, grown.drained) == (limit, count, True)
    full = f"{limit // 2:,} of {limit // 2:,} items"
    assert f"source waits for capacity on source.number>b.item ({full}), b waits" in grown.detail
    assert 'agg waits for the end of its input "items" from source' in grown.detail
    told = Counter(update.edge.edge_id for update in updates if update.WhichOneof("kind") == "edge")
    assert told[lane_id] >= 2  # it is reported while it happens


@pytest.mark.conformance("RUN-16")
@pytest.mark.parametrize(("total", "at"), [("total_running", "after_totals"), ("total", "after_totals")])
async def test_nodes_that_drive_their_inputs_are_freed_too(mesh: Mesh, total: str, at: str) -> None:
    result, updates = await ended(mesh.run(pipeline(*triangle(100, total=total, at=at), response("b"))))
    assert (result.state, len(result.values)) == ("completed", 100)
    assert growths(updates) == {"source.number>b.item": 3}


@pytest.mark.conformance("RUN-16")
async def test_past_the_ceiling_the_run_fails_naming_the_cycle_of_waits(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_LIMIT_ITEMS", 40)
    result, updates = await ended(mesh.run(pipeline(*triangle(10_000), response("b"))))
    assert result.state == "failed"
    assert result.error is not None
    assert (result.error.reason, result.error.secondary) == ("deadlock", False)
    assert result.error.message.startswith(
        "the run is deadlocked: source waits for capacity on source.number>b.item (40 of 40 items), "
        'b waits for an item at "total" from agg, agg waits for the end of its input "items" from source; '
    )
    assert result.error.details["lane"] == "source.number>b.item"
    assert edges(updates)["source.number>b.item"].limit_items == 40


@pytest.mark.conformance("RUN-16")
async def test_a_lane_that_is_full_of_bytes_is_grown_by_bytes(mesh: Mesh) -> None:
    count, size = 8, 1 << 20
    meeting = node("b", "of_total", lane("source", input="item"), lane("agg", input="total"))
    document = pipeline(
        node("source", "large", count=count, size=size),
        node("agg", "total", lane("source", input="items")),
        meeting,
        node("c", "first", "b", count=count),
        response("c"),
    )
    result, updates = await ended(mesh.run(document))
    assert (result.state, len(result.values)) == ("completed", count)
    (grown,) = growths(updates).items()
    assert grown[0] == "source.number>b.item"
    assert grown[1] >= 1
    assert edges(updates)["source.number>b.item"].limit_items in (LOCAL_LIMIT_ITEMS, DEFAULT_LIMIT_ITEMS)
    assert "bytes), b waits" in edges(updates)["source.number>b.item"].detail


@pytest.mark.conformance("RUN-16")
async def test_two_deadlocks_at_once_and_one_behind_another_are_all_resolved(mesh: Mesh) -> None:
    """The second triangle is fed by what the first one sends; the third stands beside them."""
    first = triangle(60)
    second = [
        node("agg2", "total", lane("b", input="items")),
        node("b2", "of_total", lane("b", input="item", buffer_limit=4), lane("agg2", input="total")),
    ]
    third = [
        node("s3", "numbers", count=10),
        node("agg3", "total", lane("s3", input="items")),
        node("b3", "of_total", lane("s3", input="item", buffer_limit=2), lane("agg3", input="total")),
    ]
    document = pipeline(*first, *second, *third, response("b2"), response("b3", name="beside"))
    result, updates = await ended(mesh.run(document))
    assert (result.state, len(result.values)) == ("completed", 70)
    assert set(growths(updates)) == {"source.number>b.item", "b.of>b2.item", "s3.number>b3.item"}


@pytest.mark.conformance("RUN-18")
async def test_a_deadlocked_branch_beside_an_open_chat_is_found_and_grown(mesh: Mesh) -> None:
    """The chat is open all the while: its branch goes on before, while and after the other one is freed."""
    document = pipeline(chat(), node("a", "tag", "chat"), *triangle(500), response("a"), response("b", name="totals"))
    async with mesh.run(document, open_input=True) as run:
        outputs = run.values()
        await run.push("before")
        counted = 0
        while counted < 500:
            counted += (await anext(outputs)).endswith(" of 500")
        await run.push("after")
        assert await anext(outputs) == "after"
        await run.end_input()
        assert [output async for output in outputs] == []


@pytest.mark.conformance("RUN-18")
async def test_a_deadlock_of_what_an_open_chat_feeds_is_found(mesh: Mesh) -> None:
    """What the chat has sent already is stuck, and the chat's next input could not free it."""
    both = node("b", "two_inputs", lane("series", input="left", buffer_limit=8), lane("late", input="right"))
    document = pipeline(
        chat(),
        node("series", "series", "chat", count=100),
        node("late", "later", "series", count=100),
        both,
        response("b"),
    )
    async with mesh.run(document, input="x", open_input=True) as run:
        outputs = run.values()
        assert [await anext(outputs) for _ in range(100)] == [f"{number}={number}" for number in range(100)]
        await run.end_input()
        assert [output async for output in outputs] == []


@pytest.mark.conformance("RUN-17")
async def test_a_node_that_waits_for_the_outside_world_is_left_alone(
    mesh: Mesh, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody else waits for it, in both directions."""
    taken = watched(monkeypatch)
    slow = node("slow", "waits", lane("source", buffer_limit=1), journal=str(journal))
    document = pipeline(
        node("source", "numbers", count=50),
        slow,
        node("b", "two_inputs", lane("source", input="left", buffer_limit=1), lane("slow", input="right")),
        response("b"),
    )
    async with mesh.run(document) as run:
        ending = asyncio.create_task(ended(run))
        await until(lambda: "waits" in lines(journal))
        await until(
            lambda: any(actor.waits for look in taken for name, actor in look.actors.items() if name == "source")
        )
        seen = len(taken)
        for _ in range(20):
            stall(mesh, run)
            await until(lambda seen=seen: len(taken) > seen)  # type: ignore[misc]
            seen = len(taken)
        note_down(journal, "go on")
        result, updates = await ending
    assert (result.state, len(result.values)) == ("completed", 50)
    assert growths(updates) == {}


@pytest.mark.many
@pytest.mark.conformance("RUN-17")
@pytest.mark.timeout(120 + HEALTHY_RUNS / 20)
async def test_healthy_runs_at_limit_one_are_never_grown(embedded: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of their nodes waits for another one at almost any instant, and all are looked at all the time."""
    monkeypatch.setattr(probing, "BLOCKED_SECONDS", 0.001)
    monkeypatch.setattr(monitor, "PAUSE_SECONDS", 0)
    taken = watched(monkeypatch)
    both = node(
        "b", "two_inputs", lane("a", input="left", buffer_limit=1), lane("source", input="right", buffer_limit=1)
    )
    document = pipeline(node("source", "numbers", count=5), node("a", "tag", lane("source", buffer_limit=1)), both)
    runs = embedded.orchestrator.runs
    graph = runs.validate(run_spec(document, None))
    grown = 0

    async def one() -> update_pb2.RunState.ValueType:
        nonlocal grown
        run = runs.start(graph, RunOptions())
        async for update in run.log.read():
            grown += isinstance(update, update_pb2.Update) and update.edge.growths
        return run.state

    for _ in range(0, HEALTHY_RUNS, 100):
        assert set(await asyncio.gather(*(one() for _ in range(100)))) == {COMPLETED}
    assert grown == 0
    assert len(taken) > HEALTHY_RUNS / 10


@pytest.mark.conformance("RUN-17")
async def test_a_busy_spread_run_at_limit_one_is_never_grown(spread: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = watched(monkeypatch)
    monkeypatch.setattr(monitor, "PAUSE_SECONDS", 0)
    both = node("b", "two_inputs", lane("a", input="left", buffer_limit=1), lane("c", input="right", buffer_limit=1))
    document = pipeline(
        node("c", "numbers", count=150), node("a", "tag", lane("c", buffer_limit=1)), both, response("b")
    )
    for _ in range(20):  # on a slow machine there are few looks in a run
        async with spread.run(document) as run:
            ending = asyncio.create_task(ended(run))
            await until(lambda run=run: run.id != "")  # type: ignore[misc]
            while not ending.done():
                stall(spread, run)
                await asyncio.sleep(0)
            result, updates = await ending
        assert (result.state, len(result.values)) == ("completed", 150)
        assert growths(updates) == {}
        if sum(len(look.actors) > 1 for look in taken) > 10:
            return
    pytest.fail("hardly any look was taken while the run went on")


@pytest.mark.conformance("RUN-17")
async def test_without_progress_updates_report_the_waits_until_there_is_progress(
    mesh: Mesh, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "QUIET_SECONDS", 0.5)
    slow = node("slow", "waits", lane("a", buffer_limit=1), journal=str(journal))
    document = pipeline(chat(), node("a", "tag", "chat"), slow, response("slow"))
    seen: list[update_pb2.Update] = []
    async with mesh.run(document, inputs=["1", "2", "3", "4"]) as run:
        async for update in wire_updates(run):
            seen.append(update)
            if update.edge.detail == (
                "a waits for capacity on a.tagged>slow.text (1 of 1 items); slow is busy, or waits for something outside the run"
            ):
                note_down(journal, "go on")
    assert seen[-1].job.state == COMPLETED
    told = [update.edge for update in seen if update.edge.detail]
    assert {edge.edge_id for edge in told} == {"a.tagged>slow.text", "slow.passed>out.text"}
    assert 'out waits for an item at "text" from slow, which is busy' in told[1].detail
    assert all(edge.detail == "" for edge in edges(seen).values())
    assert node_update(seen, "slow").state == update_pb2.NODE_STATE_COMPLETED


@pytest.mark.conformance("RUN-17")
async def test_a_host_that_never_answers_counts_as_busy(embedded: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stays as it is, and can be cancelled."""
    asked = asyncio.Event()

    async def say_nothing(self: HostedRun, number: int) -> None:
        asked.set()

    monkeypatch.setattr(HostedRun, "probe", say_nothing)
    monkeypatch.setattr(monitor, "ANSWER_SECONDS", 0.05)
    taken = watched(monkeypatch)
    async with embedded.run(pipeline(*triangle(100), response("b"))) as run:
        ending = asyncio.create_task(ended(run))
        await asked.wait()
        await until(lambda: len(taken) > 1)
        await run.cancel("enough")
        result, updates = await ending
    assert (result.state, growths(updates)) == ("cancelled", {})
    assert not any(look.actors for look in taken)


@pytest.mark.conformance("RUN-16")
async def test_a_server_that_freezes_between_two_probes_delays_the_growth_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Mesh("component", nodes=[NODES]) as mesh:
        document = pipeline(*triangle(100), response("b"))
        assert (await mesh.run(document).result()).state == "completed"
        pid = next(listed.pid or 0 for listed in await mesh.node_servers() if listed.name == "b")
        look = DeadlockMonitor._probe
        taken: list[Snapshot] = []

        async def freezing(self: DeadlockMonitor, seats: Collection[HostHandle]) -> Snapshot:
            if len(taken) != 1:
                taken.append(await look(self, seats))
                return taken[-1]
            os.kill(pid, signal.SIGSTOP)
            with monkeypatch.context() as patch:  # the other probes may be answered late, on a busy machine
                patch.setattr(monitor, "ANSWER_SECONDS", 0.2)
                taken.append(await look(self, seats))
            os.kill(pid, signal.SIGCONT)
            return taken[-1]

        monkeypatch.setattr(DeadlockMonitor, "_probe", freezing)
        result, updates = await ended(mesh.run(document))
    assert (result.state, len(result.values)) == ("completed", 100)
    assert {"source", "agg", "b"} <= taken[0].actors.keys()
    assert "b" not in taken[1].actors
    assert growths(updates) == {"source.number>b.item": 3}


@pytest.mark.conformance("RUN-17")
async def test_without_progress_the_helper_that_a_node_waits_for_is_reported(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "QUIET_SECONDS", 0.5)
    model = {**node("model", "silent"), "control": [{"classType": "llm", "from": "asker"}]}
    document = pipeline(chat(), node("asker", "asker", "chat"), model, response("asker"))
    async with mesh.run(document, input="?", open_input=True) as run:
        async for update in wire_updates(run):
            if update.edge.detail:
                told = (update.edge.edge_id, update.edge.detail)
                break
    waits = 'out waits for an item at "text" from asker, which waits for the llm helper model'
    assert told == ("asker.said>out.text", waits)
