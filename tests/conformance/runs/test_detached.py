"""Detached runs: any client with the id can feed, watch and cancel them; embedded, spread over processes, and through a client."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import grpc.aio
import pytest
from lanemesh import Client, DetachedRun
from lanemesh.client.detached import wire_updates_until
from lanemesh.client.results import RunFailed
from lanemesh.client.run_host import RunHost
from lanemesh.client.run_reader import TERMINAL, wire_updates
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2, run_pb2_grpc, update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.update_log import UpdateLog

from rigs.lane_proxies import Cable
from rigs.runs import line, node, pipeline, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+"))


async def numbers_of(run: DetachedRun) -> list[int]:
    return [update.sequence async for update in wire_updates(run)]


@pytest.mark.conformance("RUN-14")
async def test_pushed_input_is_processed_as_it_arrives_until_it_is_ended(host: RunHost) -> None:
    run = await host.start(TAG, inputs=["1", "2"], open_input=True)
    outputs = run.values()
    assert [await anext(outputs), await anext(outputs)] == ["+1", "+2"]
    await run.push("3")
    assert await anext(outputs) == "+3"
    await host.attach(run.id).push("4")  # anybody who knows its id
    assert await anext(outputs) == "+4"
    await run.end_input()
    await run.end_input()  # changes nothing
    assert [value async for value in outputs] == []
    assert (await run.result()).values == ("+1", "+2", "+3", "+4")


@pytest.mark.conformance("RUN-14")
async def test_pushes_come_after_the_first_inputs_and_wait_for_a_source_that_is_behind(host: RunHost) -> None:
    run = await host.start(TAG, inputs=map(str, range(500)), open_input=True)
    await run.push("last")
    await run.end_input()
    assert (await run.result()).values == (*(f"+{number}" for number in range(500)), "+last")


@pytest.mark.conformance("RUN-02")
@pytest.mark.parametrize(
    ("provider", "given", "ends"),
    [
        ("tag", "x", update_pb2.RUN_STATE_COMPLETED),
        ("fail", "bad", update_pb2.RUN_STATE_FAILED),
        ("hang", "x", update_pb2.RUN_STATE_CANCELLED),
    ],
)
async def test_however_a_run_ends_it_ends_once_and_its_updates_are_numbered(
    host: RunHost, provider: str, given: str, ends: update_pb2.RunState.ValueType
) -> None:
    run = await host.start(line(node("a", provider, "chat")), input=given, open_input=True)
    seen = []
    async for update in wire_updates(run):
        seen.append(update)
        if update.job.state == update_pb2.RUN_STATE_RUNNING and provider == "hang":
            await run.cancel("enough")
        elif update.job.state == update_pb2.RUN_STATE_RUNNING:
            await run.end_input()
    assert [update.sequence for update in seen] == list(range(1, len(seen) + 1))
    assert [update.job.state for update in seen if update.job.state in TERMINAL] == [ends]
    assert (run.state.wire, seen[-1].job.state) == (ends, ends)
    await run.cancel("too late")  # changes nothing
    assert [update async for update in wire_updates(host.attach(run.id, len(seen)))] == seen[-1:]


@pytest.mark.conformance("RUN-03")
async def test_who_stops_watching_stops_nothing_and_goes_on_where_it_was(host: RunHost) -> None:
    run = await host.start(TAG, open_input=True)
    watching = wire_updates(run)
    seen = [await anext(watching), await anext(watching)]
    await watching.aclose()
    await run.push("1")
    await run.end_input()
    seen += [update async for update in wire_updates(host.attach(run.id, 3))]
    assert [update.sequence for update in seen] == list(range(1, len(seen) + 1))
    assert await numbers_of(run) == list(range(1, len(seen) + 1))  # the log still has all of them
    assert run.missed == 0


@pytest.mark.conformance("RUN-03")
async def test_a_watcher_that_does_not_read_slows_nothing_and_gets_a_gap(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with mesh.run(TAG, open_input=True) as owner:
        outputs = owner.values()
        await owner.push("x")
        await anext(outputs)
        watcher = mesh.attach(owner.id)
        updates = wire_updates(watcher)
        assert (await anext(updates)).sequence == 1
        with monkeypatch.context() as patch:
            patch.setattr(mesh.orchestrator.runs.memory, "budget", 1)
            for _ in range(500):
                await owner.push("x")
            assert len([await anext(outputs) for _ in range(500)]) == 500
        await owner.end_input()
        assert [value async for value in outputs] == []
    with caplog.at_level(logging.WARNING, "lanemesh.client"):
        rest = [update.sequence async for update in updates]
    (gap,) = [
        (before, after) for before, after in pairwise([1, *rest]) if after != before + 1
    ]  # behind what it had in hand
    assert gap[0] < 50
    assert watcher.missed == gap[1] - gap[0] - 1
    assert watcher.missed >= 200
    assert f"updates {gap[0] + 1} to {gap[1] - 1} are no longer kept" in caplog.text
    assert (await mesh.attach(watcher.id).result()).missed == gap[1] - 1


@pytest.mark.conformance("RUN-03")
async def test_a_run_under_way_that_has_dropped_updates_is_read_as_far_as_it_is(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mesh.run(TAG, open_input=True) as owner:
        outputs = owner.values()
        with monkeypatch.context() as patch:
            patch.setattr(mesh.orchestrator.runs.memory, "budget", 1)
            for _ in range(500):
                await owner.push("x")
            assert len([await anext(outputs) for _ in range(500)]) == 500
            last = (await mesh.record(owner.id)).last_sequence
        watcher = mesh.attach(owner.id)
        async with asyncio.timeout(30):
            kept = [update.sequence async for update in wire_updates_until(watcher, last)]
        assert kept == list(range(watcher.missed + 1, last + 1))
        assert watcher.missed >= 200
        await owner.end_input()
        assert [value async for value in outputs] == []


@pytest.mark.conformance("RUN-03")
async def test_a_connection_that_breaks_again_and_again_loses_nothing_and_brings_nothing_twice(
    serving: Orchestrator,
) -> None:
    async with Cable(serving.address) as cable, Client(cable.address) as afar, Client(serving.address) as near:
        run = await near.start(line(node("a", "series", "chat", count=2_000)), input="go")
        seen: list[int] = []
        breaks = 0
        async for update in wire_updates(afar.attach(run.id)):
            seen.append(update.sequence)
            if len(seen) % 400 == 0:
                cable.snap()
                breaks += 1
    assert breaks >= 4
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == serving.runs.get(run.id).log.last


@pytest.mark.conformance("RUN-03")
async def test_a_connection_that_stays_broken_is_given_up(
    serving: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanemesh.client.watching.ATTEMPTS", 3)
    monkeypatch.setattr("lanemesh.client.watching.FIRST_PAUSE", 0.01)
    async with Client(serving.address) as near:
        run = await near.start(TAG, open_input=True)
        async with Cable(serving.address) as cable, Client(cable.address) as afar:
            watching = wire_updates(afar.attach(run.id))
            assert (await anext(watching)).sequence == 1
            await cable.__aexit__()
            with pytest.raises(LanemeshError, match=f"the orchestrator at {afar.address} cannot be reached"):
                async for _ in watching:
                    pass
        await run.end_input()
        assert (await run.result()).state == "completed"  # it went on meanwhile


async def test_a_failed_run_raises_after_its_outputs(host: RunHost) -> None:
    run = await host.start(line(node("a", "fail", "chat")), input="good", open_input=True)
    outputs = run.values()
    assert await anext(outputs) == "good"
    await run.push("bad")
    with pytest.raises(RunFailed, match="ValueError: a bad word"):
        await anext(outputs)


async def test_a_rejected_input_gets_the_reason(host: RunHost) -> None:
    closed = await host.start(line(node("a", "hang", "chat")), input="x")
    with pytest.raises(LanemeshError, match="accepts no input: its input has ended"):
        await closed.push("more")
    await closed.cancel("enough")
    await closed.result()
    with pytest.raises(LanemeshError, match="accepts no input: it has ended, or is ending"):
        await closed.push("more")

    sourceless = await host.start(pipeline(node("a", "numbers", count=1), response("a")), open_input=True)
    with pytest.raises(LanemeshError, match=r"accepts no input: (its pipeline has no source|it has ended)"):
        await sourceless.push("x")

    async with host.run(TAG, open_input=True) as owned:
        await owned.push("x")
        assert await anext(owned.values()) == "+x"
        with pytest.raises(LanemeshError, match="only the client that called `Run` can feed it"):
            await host.attach(owned.id).push("y")


async def test_a_push_that_is_no_item_is_refused_and_the_run_goes_on(serving: Orchestrator) -> None:
    async with grpc.aio.insecure_channel(serving.address) as channel, Client(serving.address) as client:
        stub: run_pb2_grpc.RunServiceAsyncStub = run_pb2_grpc.RunServiceStub(channel)
        run = await client.start(TAG, open_input=True)
        request = run_pb2.PushInputRequest(run_id=run.id, inputs=[run_pb2.RunInput()])
        with pytest.raises(grpc.aio.AioRpcError, match="an input is not a valid item"):
            await stub.PushInput(request)
        await run.push("still there")
        await run.end_input()
        assert (await run.result()).values == ("+still there",)


async def test_an_idle_watch_shows_signs_of_life(serving: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh_orchestrator.runs.frames.IDLE_FRAME_SECONDS", 0.02)
    async with grpc.aio.insecure_channel(serving.address) as channel, Client(serving.address) as client:
        run = await client.start(TAG, open_input=True)
        stub: run_pb2_grpc.RunServiceAsyncStub = run_pb2_grpc.RunServiceStub(channel)
        idle = 0
        async for response in stub.WatchRun(run_pb2.WatchRunRequest(run_id=run.id, from_sequence=1)):
            idle += not response.updates
            if idle == 3:
                await run.end_input()
                break
        async with asyncio.timeout(10):
            assert (await run.result()).state == "completed"


async def test_a_detached_run_of_a_mesh_ends_with_it() -> None:
    async with Mesh() as mesh:
        pipe = pipeline({"id": "chat", "provider": "chat"}, response("chat"))
        run = await mesh.start(pipe, open_input=True)
    assert (await run.result()).reason == "the orchestrator stops"


@pytest.mark.conformance("RUN-02")
async def test_firings_are_reported_while_a_node_runs_and_edges_once_more_at_their_end(mesh: Mesh) -> None:
    async with mesh.run(line(node("a", "pass", "chat")), open_input=True) as run:
        outputs = 0
        told = []
        async for update in wire_updates(run):
            if update.WhichOneof("kind") == "output":
                outputs += 1
            if update.WhichOneof("kind") == "node" and update.node.component == "a":
                told.append(update.node)
            if update.job.state == update_pb2.RUN_STATE_RUNNING:
                for _ in range(5):
                    await run.push("x")
            if update.node.firings == 5:  # reported while it waits for more
                await run.end_input()
            last = update.edge if update.WhichOneof("kind") == "edge" else None
            if last is not None and last.drained:
                assert (last.sent, last.consumed, last.buffered) == (5, 5, 0)
    assert outputs == 5
    counts = [(one.state, one.firings) for one in told]
    assert counts[0] == (update_pb2.NODE_STATE_RUNNING, 0)
    assert counts[-2:] == [(update_pb2.NODE_STATE_RUNNING, 5), (update_pb2.NODE_STATE_COMPLETED, 5)]


async def test_an_edge_reports_its_latest_state_ten_times_a_second_at_most_and_once_at_its_end(mesh: Mesh) -> None:
    document = line(node("a", "series", "chat", count=20_000), node("b", "tag", "a"), node("c", "pass", "b"))
    told: dict[str, list[update_pb2.Update]] = {}
    async for update in wire_updates(mesh.run(document, input="go")):
        if update.WhichOneof("kind") == "edge":
            told.setdefault(update.edge.edge_id, []).append(update)
    assert len(told) == 4
    for updates in told.values():
        last = updates[-1].edge
        assert (last.drained, last.buffered, last.consumed) == (True, 0, last.sent)
        times = [update.time.ToNanoseconds() / 1e9 for update in updates]
        assert all(after - before > 0.09 for before, after in pairwise(times[:-1]))
    assert sum(updates[-1].edge.sent for updates in told.values()) == 1 + 3 * 20_000


@pytest.mark.parametrize("stored", ["in time", "never"])
async def test_a_run_whose_caller_leaves_before_it_has_the_id_is_cancelled(
    host: RunHost, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, storing = asyncio.Event(), asyncio.Event()

    async def begun(log: UpdateLog) -> None:
        began.set()
        await storing.wait()

    monkeypatch.setattr(UpdateLog, "begun", begun)
    monkeypatch.setattr("lanemesh.client.calls.LEFT_SECONDS", 30.0 if stored == "in time" else 0.1)
    starting = asyncio.create_task(host.start(TAG, inputs=["1"], open_input=True))
    async with asyncio.timeout(30):
        await began.wait()
        (record, *_) = await host.runs(limit=1)
        starting.cancel()
        if stored == "in time":
            storing.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
        result = await host.attach(record.run_id).result()
    assert result.state == "cancelled"
    assert "its caller left before" in result.reason
