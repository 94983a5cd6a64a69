"""Runs: the same behaviours embedded, spread over processes, and through a client."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from lanemesh._aio.tasks import abandoned
from lanemesh.client.results import RunFailed
from lanemesh.client.run_host import RunHost
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from rigs import footprint
from rigs.runs import (
    chat,
    ended,
    lane,
    line,
    lines,
    node,
    node_update,
    pipeline,
    response,
    states,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPLETED, FAILED, CANCELLED = (
    update_pb2.RUN_STATE_COMPLETED,
    update_pb2.RUN_STATE_FAILED,
    update_pb2.RUN_STATE_CANCELLED,
)


@pytest.mark.conformance("RUN-01", "RUN-14", "FIRE-10")
async def test_the_first_output_comes_before_the_source_has_ended(host: RunHost) -> None:
    three = line(node("a", "tag", "chat", mark="a"), node("b", "tag", "a", mark="b"), node("c", "pass", "b"))
    async with host.run(three, open_input=True) as run:
        outputs = run.values()
        for piece in ("1", "2"):  # each is processed while the source is open
            await run.push(piece)
            assert await anext(outputs) == f"ba{piece}"
        await run.end_input()
        assert [value async for value in outputs] == []


@pytest.mark.conformance("RUN-02")
async def test_updates_are_numbered_without_gaps_and_the_one_terminal_is_last(host: RunHost) -> None:
    result, updates = await ended(host.run(line(node("a", "tag", "chat"), node("b", "tag", "a")), input="x"))
    assert result.state == "completed"
    assert [update.sequence for update in updates] == list(range(1, len(updates) + 1))
    jobs = [update.job for update in updates if update.WhichOneof("kind") == "job"]
    assert [job.state for job in jobs] == [update_pb2.RUN_STATE_STARTING, update_pb2.RUN_STATE_RUNNING, COMPLETED]
    assert updates[-1].job is not None
    assert {placement.component for placement in jobs[1].placements} == {"chat", "a", "b", "out"}
    assert len({edge.edge_id for edge in jobs[1].edges}) == 3
    assert states(updates, "a") == states(updates, "b") == ["RUNNING", "COMPLETED"]


@pytest.mark.conformance("RUN-04")
async def test_outputs_keep_equal_neighbours(host: RunHost) -> None:
    result = await host.run(line(node("a", "tag", "chat"), node("b", "pass", "a")), inputs=["x"] * 500).result()
    assert result.values == ("x",) * 500


@pytest.mark.conformance("PIPE-03")
async def test_fan_in_fan_out_and_several_lanes_between_the_same_two(mesh: Mesh) -> None:
    both = pipeline(
        chat(),
        node("a", "two_outputs", "chat"),
        node(
            "b",
            "two_inputs",
            lane("a", output="words", input="left"),
            lane("a", output="lengths", input="right"),
        ),
        node("c", "tag", lane("a", output="words"), lane("a", output="lengths"), "b", mark="+"),
        response("c", name="merged"),
        response("b", name="pairs"),
    )
    result, updates = await ended(mesh.run(both, inputs=["one three", "four"]))
    assert result.state == "completed"
    pairs = ["one=3", "three=5", "four=4"]
    by_target = {
        name: [
            update.output.item.text
            for update in updates
            if update.WhichOneof("kind") == "output" and update.output.component == name
        ]
        for name in ("merged", "pairs")
    }
    assert by_target["pairs"] == pairs
    merged = [text.removeprefix("+") for text in by_target["merged"]]
    assert sorted(merged) == sorted(["one", "three", "four", "3", "5", "4", *pairs])
    for branch in (["one", "three", "four"], ["3", "5", "4"], pairs):  # each lane keeps its order
        assert [text for text in merged if text in branch] == branch
    edges = {update.edge.edge_id: update.edge for update in updates if update.WhichOneof("kind") == "edge"}
    assert len(edges) == 8
    assert all(edge.sent == edge.consumed and edge.drained for edge in edges.values())


KINDS = ["fail", "fail_sync", "fail_generating", "fail_generating_sync", "fail_running"]


@pytest.mark.conformance("RUN-05")
@pytest.mark.parametrize("provider", KINDS)
async def test_a_node_that_raises_fails_the_run_with_its_own_error(mesh: Mesh, provider: str) -> None:
    document = line(node("a", "tag", "chat"), node("b", provider, "a"), node("c", "tag", "b"))
    for _ in range(6):
        result, updates = await ended(mesh.run(document, inputs=["bad", *["more"] * 50]))
        assert result.state == "failed"
        assert result.error is not None
        assert not result.error.secondary
        assert result.error.message == "ValueError: a bad word"
        details = result.error.details
        assert (details["component"], details["provider"], details["exception"]) == ("b", provider, "ValueError")
        assert "a bad word" in result.error.traceback
        assert "lanemesh/node/runtime/actor.py" not in result.error.traceback
        assert states(updates, "b")[-1] == "FAILED"
        for other in ("a", "c"):  # their faults are consequences, and are marked as such
            error = node_update(updates, other).error
            assert not error.code or Fault.from_proto(error).secondary


@pytest.mark.conformance("RUN-05")
async def test_outputs_before_an_error_are_kept(mesh: Mesh) -> None:
    document = line(node("a", "tag", "chat"), node("b", "fail", "a"), node("c", "tag", "b"))
    async with mesh.run(document, open_input=True) as run:
        outputs = run.values()
        await run.push("good")
        assert await anext(outputs) == "good"
        await run.push("bad")
        with pytest.raises(RunFailed, match="ValueError: a bad word"):
            await anext(outputs)


async def test_an_error_in_finalize_fails_the_run(mesh: Mesh) -> None:
    result, updates = await ended(mesh.run(line(node("a", "fail", "chat", at="finalize")), input="x"))
    assert (result.state, result.values) == ("failed", ("x",))
    assert result.error is not None
    assert result.error.message == "OSError: cannot let go"
    assert states(updates, "a") == ["RUNNING", "FAILED"]


async def test_an_error_in_load_fails_the_run_before_it_starts_and_the_next_tries_again(mesh: Mesh) -> None:
    for _ in range(2):
        result, updates = await ended(mesh.run(line(node("a", "fail", "chat", at="load")), input="x"))
        assert result.state == "failed"
        assert result.error is not None
        assert result.error.message == "RuntimeError: no such model"
        assert result.error.details["component"] == "a"
        assert not any(update.WhichOneof("kind") == "node" for update in updates)


async def test_a_run_that_has_ended_is_freed_without_a_garbage_collection(mesh: Mesh) -> None:
    gc.disable()
    try:
        run = mesh.run(line(node("a", "pass", "chat")), input="x")
        reference = weakref.ref(run)
        assert (await run.result()).state == "completed"
        del run
        await until(lambda: reference() is None)
    finally:
        gc.enable()


@pytest.mark.timing
@pytest.mark.conformance("RUN-10")
async def test_two_hundred_runs_at_once_end_right_and_leave_nothing(mesh: Mesh) -> None:
    document = line(node("a", "tag", "chat"), node("b", "pass", "a"), node("c", "tag", "b"))
    inputs = [str(number) for number in range(10)]
    own = psutil.Process()

    async def one_round() -> Round:
        """Runs them all; returns tasks, files and the memory of each process after it. Each stream that waits for a run has two
        tasks; how many wait, within a bound, depends on how many runs were under way at one time."""
        results = await asyncio.gather(*(mesh.run(document, inputs=inputs).result() for _ in range(200)))
        assert {(result.state, result.values) for result in results} == {("completed", tuple(inputs))}
        await until(lambda: not any(server.active_instances for server in mesh.orchestrator.registry.servers()))
        await until(lambda: not footprint.tasks_of_runs())
        streams = mesh.orchestrator.runs._streams
        await until(lambda: streams is None or not streams.closing)
        gc.collect()  # what is unreachable is no leak, whenever the interpreter would find it
        pids = sorted({server.info.pid for server in mesh.orchestrator.registry.servers()} - {own.pid})
        processes = [own, *map(psutil.Process, pids)]
        files = sum(process.num_fds() for process in processes)
        tasks = len(asyncio.all_tasks()) - 2 * (streams.spare if streams is not None else 0)
        return Round(tasks, files, [process.memory_info().rss for process in processes])

    await one_round()  # the first fills caches, and the runs that are kept
    before = await one_round()
    # Fragmentation makes a heap grow by steps now and then. What runs leave behind makes it grow in every round.
    rounds = [await one_round()]
    while left := left_behind(before, rounds):
        assert len(rounds) < 3, left
        rounds.append(await one_round())


class Round(NamedTuple):
    """What there is after a round of runs."""

    tasks: int
    files: int
    memory: list[int]
    """Bytes of each process."""


def left_behind(before: Round, rounds: Sequence[Round]) -> str:
    """What every one of these rounds has left behind; empty if nothing."""
    tasks = min(later.tasks for later in rounds) - before.tasks
    files = min(later.files for later in rounds) - before.files
    growth = max(min(later.memory[index] for later in rounds) - memory for index, memory in enumerate(before.memory))
    left = {"tasks": tasks > 0, "files": files > 0, "memory": growth >= 10 * 1024 * 1024}
    return ", ".join(what for what, found in left.items() if found)


@pytest.mark.conformance("RUN-12")
async def test_independent_branches_run_concurrently(mesh: Mesh, journal: Path) -> None:
    branches = pipeline(
        chat(),
        node("a", "meet", "chat", journal=str(journal), sibling="b"),
        node("b", "meet", "chat", journal=str(journal), sibling="a"),
        response("a", "b"),
    )
    result = await mesh.run(branches, input="x", timeout=20).result()
    assert sorted(result.values) == ["a", "b"]


@pytest.mark.timing
@pytest.mark.conformance("RUN-07")
@pytest.mark.parametrize("body", ["async", "sync"])
async def test_a_cancelled_run_stops_every_node_within_a_second(mesh: Mesh, journal: Path, body: str) -> None:
    provider = "hang" if body == "async" else "hang_sync"
    document = line(
        node("a", "tag", "chat", journal=str(journal)),
        node("b", provider, "a", journal=str(journal)),
        node("c", "tag", "b", journal=str(journal)),
    )
    async with mesh.run(document, input="x", open_input=True) as run:
        updates: list[update_pb2.Update] = []
        began = 0.0

        async def stop() -> None:
            nonlocal began
            await until(lambda: "begun b" in lines(journal))
            began = time.monotonic()
            await run.cancel("enough")

        stopping = asyncio.create_task(stop())
        async for update in wire_updates(run):
            updates.append(update)
        took = time.monotonic() - began
        await stopping
    assert took < 1
    assert (updates[-1].job.state, updates[-1].job.reason) == (CANCELLED, "enough")
    assert {name: states(updates, name)[-1] for name in "abc"} == dict.fromkeys("abc", "CANCELLED")
    assert sorted(lines(journal)) == ["begun b", "finalize a", "finalize b", "finalize c"]
    detail = node_update(updates, "b").detail
    assert detail == ("" if body == "async" else "its synchronous body did not stop and was abandoned")


@pytest.mark.timing
@pytest.mark.conformance("RUN-07")
async def test_who_leaves_a_run_cancels_it(host: RunHost, journal: Path) -> None:
    document = line(node("a", "hang", "chat", journal=str(journal)))
    async with host.run(document, input="x", open_input=True) as run:
        assert await anext(run.values()) == "begun"
    await until(lambda: "finalize a" in lines(journal), 1)
    assert "side effect a" not in lines(journal)


@pytest.mark.timing
async def test_a_run_is_cancelled_while_a_node_loads(mesh: Mesh, journal: Path) -> None:
    document = line(node("a", "slow_load", "chat", journal=str(journal)))
    async with mesh.run(document, input="x") as run:
        waiting = asyncio.create_task(run.result())
        await until(lambda: lines(journal) == ["loading"])
        began = time.monotonic()
        await run.cancel("too slow")
        result = await waiting
    assert (result.state, result.reason) == ("cancelled", "too slow")
    assert time.monotonic() - began < 1
    assert lines(journal) == ["loading"]


async def test_a_timeout_of_the_run_is_its_error(mesh: Mesh) -> None:
    result = await mesh.run(line(node("a", "hang", "chat")), input="x", timeout=0.3).result()
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.reason == "timeout"
    assert result.error.message == (
        "the run took longer than its timeout of 0.3 s: "
        'out waits for an item at "text" from a, which is busy, or waits for something outside the run'
    )


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_timeout_that_is_none_is_refused(host: RunHost, seconds: float) -> None:
    with pytest.raises(LanemeshError, match="greater than 0 seconds"):
        await host.run(line(node("a", "tag", "chat")), input="x", timeout=seconds).result()


async def test_a_consumer_that_stops_early_ends_its_producers_and_the_run(host: RunHost) -> None:
    document = line(node("a", "tag", "chat"), node("b", "first", "a", count=2))
    async with host.run(document, inputs=iter(["x"] * 100_000), open_input=True) as run:
        result = await run.result()
    assert (result.state, result.values) == ("completed", ("x", "x"))


async def test_an_ended_run_takes_no_input(host: RunHost) -> None:
    run = host.run(line(node("a", "tag", "chat")), input="x")
    assert (await run.result()).state == "completed"
    with pytest.raises(LanemeshError, match="accepts no input"):
        await run.push("more")


async def test_log_lines_reach_the_client(host: RunHost) -> None:
    _, updates = await ended(host.run(line(node("a", "talk", "chat", lines=3)), input="x"))
    logs = [update.log for update in updates if update.WhichOneof("kind") == "log"]
    assert [(log.component, log.level, log.message) for log in logs] == [
        ("a", update_pb2.LOG_LEVEL_INFO, f"line {number}") for number in range(3)
    ]


async def test_a_flood_of_log_lines_is_counted_and_costs_no_output(host: RunHost) -> None:
    inputs = [str(number) for number in range(6)]
    result, updates = await ended(host.run(line(node("a", "talk", "chat", lines=2_000)), inputs=inputs))
    assert result.values == tuple(inputs)
    logs = [update.log.message for update in updates if update.WhichOneof("kind") == "log"]
    told = [log for log in logs if log.startswith("line")]
    left_out = sum(int(log.split()[0].replace(",", "")) for log in logs if "log lines were dropped" in log)
    assert left_out
    assert len(told) + left_out <= 12_000 + 1  # the lines, and one warning that the body keeps the event loop busy


async def test_a_flood_of_thoughts_waits_for_its_reader(mesh: Mesh) -> None:
    document = line(node("a", "talk", "chat", lines=0, thoughts=5_000))
    result, updates = await ended(mesh.run(document, input="x"))
    thoughts = [update.tool.thought for update in updates if update.WhichOneof("kind") == "tool"]
    assert thoughts == [f"{number}" for number in range(5_000)]
    assert result.values == ("x",)


@pytest.mark.conformance("FIRE-12")
async def test_a_required_input_that_ends_empty_skips_its_node_and_no_other(mesh: Mesh) -> None:
    both = pipeline(
        chat(),
        node("a", "numbers", count=0),
        node("b", "two_inputs", lane("a", input="left"), lane("chat", input="right")),
        node("c", "tag", "chat"),
        response("b", "c"),
    )
    result, updates = await ended(mesh.run(both, inputs=["x", "y"]))
    assert (result.state, result.values) == ("completed", ("x", "y"))
    assert states(updates, "b") == ["RUNNING", "SKIPPED"]
    assert 'the required input "left" ended without an item' in node_update(updates, "b").detail


@pytest.mark.timing
@pytest.mark.conformance("FIRE-18")
@pytest.mark.parametrize("provider", ["hang", "hang_sync", "hang_running"])
async def test_a_components_timeout_covers_every_kind(mesh: Mesh, provider: str) -> None:
    document = line({**node("a", provider, "chat"), "timeout": 0.2})
    began = time.monotonic()
    result = await mesh.run(document, input="x").result()
    assert time.monotonic() - began < 2
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.reason == "timeout"
    what = "run" if provider == "hang_running" else "firing"
    told = f"a: one {what} took longer than its timeout of 0.2 s"
    if provider == "hang_sync":
        told += "; its synchronous body did not stop and was abandoned"
    assert result.error.message == told
    assert result.error.details["component"] == "a"


async def test_a_node_that_emits_after_its_consumers_stopped_gets_an_error_and_is_closed(
    mesh: Mesh, journal: Path
) -> None:
    document = line(node("a", "emits", "chat", journal=str(journal)), node("b", "first", "a"))
    result, updates = await ended(mesh.run(document, input="x"))
    assert (result.state, result.values) == ("completed", ("x",))
    assert states(updates, "a")[-1] == "COMPLETED"
    assert lines(journal) == ["told", "closed"]


async def test_error_a_node_whose_actor_cannot_be_made_ends_the_run(
    embedded: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the server itself: nodes before and behind it do not wait for it."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no actor")

    monkeypatch.setattr("lanemesh.server.host.supervision.Actor", broken)
    async with asyncio.timeout(10):
        result, updates = await ended(embedded.run(line(node("a", "tag", "chat"), node("b", "tag", "a")), input="x"))
    assert result.state == "failed"
    assert result.error is not None
    assert "RuntimeError: no actor" in result.error.message
    assert states(updates, "a")[-1] == "FAILED"
    assert "its supervision failed" in caplog.text


@pytest.mark.timing
async def test_a_node_that_swallows_its_cancellation_is_abandoned(
    embedded: Mesh, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanemesh.server.host.supervision.CANCEL_SECONDS", 0.3)
    document = line(
        node("a", "hang", "chat", body="stubborn", journal=str(journal)), node("b", "tag", "a", journal=str(journal))
    )
    async with embedded.run(document, input="x", open_input=True) as run:
        waiting = asyncio.create_task(ended(run))
        await until(lambda: "begun a" in lines(journal))
        began = time.monotonic()
        await run.cancel("enough")
        result, updates = await waiting
    assert time.monotonic() - began < 2
    assert (result.state, states(updates, "a")[-1]) == ("cancelled", "CANCELLED")
    assert node_update(updates, "a").detail == "it ignored its cancellation for 0.3 s and was abandoned"
    assert not embedded.orchestrator.host.runs
    assert (await embedded.run(line(node("a", "tag", "chat")), input="x").result()).values == ("x",)
    (stubborn,) = [task for task in abandoned() if task.get_name() == f"{run.id} a"]
    assert stubborn not in asyncio.all_tasks()  # which `asyncio.run` waits for at its end
    stubborn.cancel()  # it still runs, and reaches no node
    await asyncio.wait([stubborn], timeout=2)


@pytest.mark.conformance("FIRE-18")
async def test_a_node_that_swallows_the_end_of_its_time_is_abandoned_and_fails(
    embedded: Mesh, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanemesh.node.firing.deadline.OVERDUE_SECONDS", 0.1)
    document = line(
        {**node("a", "hang", "chat", body="stubborn", journal=str(journal)), "timeout": 0.2}, node("b", "tag", "a")
    )
    result, updates = await ended(embedded.run(document, input="x"))
    assert result.state == "failed"
    assert result.error is not None
    assert (result.error.reason, result.error.secondary) == ("timeout", False)
    assert result.error.message == (
        "a: one firing took longer than its timeout of 0.2 s; it ignored its cancellation for another 0.1 s and was abandoned"
    )
    assert states(updates, "a")[-1] == "FAILED"
    (stubborn,) = [task for task in abandoned() if task.get_name() == f"{result.run_id} a"]
    stubborn.cancel()
    await asyncio.wait([stubborn], timeout=2)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_node_that_exits_fails_and_nothing_else_does(mesh: Mesh, kind: str) -> None:
    result = await mesh.run(line(node("a", f"exits_{kind}", "chat")), input="x").result()
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.message == "SystemExit: 3"
    assert result.error.details["component"] == "a"
    assert (await mesh.run(line(node("a", "tag", "chat")), input="x").result()).values == ("x",)


async def test_a_helper_that_is_slow_to_be_reached_can_be_cancelled(
    embedded: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaching = asyncio.Event()

    async def reach(self: object) -> None:
        reaching.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("lanemesh.control.links.LocalLink.reach", reach)
    model = {**node("m", "oracle"), "control": [{"classType": "llm", "from": "a"}]}
    document = pipeline(chat(), node("a", "asker", "chat"), model, response("a"))
    async with embedded.run(document, input="x") as run:
        waiting = asyncio.create_task(ended(run))
        await reaching.wait()
        await run.cancel("enough")
        result, updates = await asyncio.wait_for(waiting, 7)
    assert (result.state, result.reason) == ("cancelled", "enough")
    assert not any(update.WhichOneof("kind") == "node" for update in updates)
    assert not embedded.orchestrator.host.runs


async def test_node_types_are_listed_all_or_by_their_names(host: RunHost) -> None:
    listed = [manifest.provider for manifest in await host.node_types()]
    assert listed == sorted(listed)
    assert {"chat", "llm_scripted", "tag"} <= {*listed}

    named = await host.node_types({"tag", "chat", "none"})
    assert [manifest.provider for manifest in named] == ["chat", "tag"]
