"""RunService as any gRPC client sees it: owners that leave, watchers, detached runs, and nonsense."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from lanemesh import Client
from lanemesh.client.fanout import ACKNOWLEDGED_BYTES
from lanemesh.client.inputs import to_input
from lanemesh.client.run_reader import TERMINAL, wire_updates
from lanemesh.client.specs import run_spec
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2, run_pb2_grpc, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs import frames
from lanemesh_orchestrator.runs.batches import MAX_BATCH_UPDATES
from lanemesh_orchestrator.runs.retention import MIB

from endings import end
from rigs.runs import NODES, Pipeline, line, lines, node, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+"))


@pytest_asyncio.fixture(loop_scope="session")
async def stub(serving: Orchestrator) -> AsyncIterator[run_pb2_grpc.RunServiceAsyncStub]:
    """The service, without our client, and with a small window, so that who reads nothing gets nothing."""
    async with grpc.aio.insecure_channel(serving.address, [("grpc.http2.bdp_probe", 0)]) as channel:
        yield run_pb2_grpc.RunServiceStub(channel)


def spec(document: Pipeline) -> run_pb2.RunRequest:
    return run_pb2.RunRequest(spec=run_spec(document, None))


def given(value: Any) -> run_pb2.RunRequest:
    return run_pb2.RunRequest(input=to_input(value))


async def rest(client: Client, run_id: str, start: int = 1) -> list[update_pb2.Update]:
    """What a watcher from a number on gets."""
    return [update async for update in wire_updates(client.attach(run_id, start))]


@pytest.mark.conformance("RUN-07")
async def test_a_caller_that_disconnects_cancels_its_run_and_the_log_has_the_reason(
    stub: run_pb2_grpc.RunServiceAsyncStub, client: Client, journal: Path
) -> None:
    call = stub.Run()
    await call.write(spec(line(node("a", "hang", "chat", journal=str(journal)))))
    await call.write(given("x"))
    first = await anext(aiter(call))
    await until(lambda: "begun a" in lines(journal))
    call.cancel()
    *_, last = await rest(client, first.updates[0].job.run_id)
    assert (last.job.state, last.job.reason) == (update_pb2.RUN_STATE_CANCELLED, "its caller disconnected")
    assert lines(journal) == ["begun a", "finalize a"]


@pytest.mark.conformance("RUN-07")
async def test_a_caller_that_disconnects_has_not_ended_its_input(
    stub: run_pb2_grpc.RunServiceAsyncStub, client: Client
) -> None:
    """What the orchestrator reads of it is an end of file, as of one that has half-closed, mostly before it learns of the rest."""
    for _ in range(60):
        call = stub.Run()
        await call.write(spec(line(node("a", "tag", "chat"))))
        await call.write(given("x"))
        reading = aiter(call)
        first = await anext(reading)
        while not any(update.HasField("output") for update in (await anext(reading)).updates):
            pass
        call.cancel()
        *_, last = await rest(client, first.updates[0].job.run_id)
        assert (last.job.state, last.job.reason) == (update_pb2.RUN_STATE_CANCELLED, "its caller disconnected")


async def test_signs_of_life_come_one_at_a_time(
    stub: run_pb2_grpc.RunServiceAsyncStub, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "IDLE_FRAME_SECONDS", 0.05)
    silent = await client.start(line(node("a", "tag", "chat")), open_input=True)
    watching = aiter(stub.WatchRun(run_pb2.WatchRunRequest(run_id=silent.id)))
    empty: list[float] = []
    while len(empty) < 5:
        response = await anext(watching)
        empty = [*empty, time.monotonic()] if not response.updates else []
    assert empty[-1] - empty[0] > 0.1
    await silent.end_input()
    assert (await silent.result()).state == "completed"


async def test_a_caller_that_never_half_closes_gets_its_end(stub: run_pb2_grpc.RunServiceAsyncStub) -> None:
    call = stub.Run()
    await call.write(spec(line(node("a", "first", "chat"))))
    await call.write(given("x"))
    states = []
    async with asyncio.timeout(10):
        async for response in call:
            states += [update.job.state for update in response.updates if update.HasField("job")]
        assert await call.code() is grpc.StatusCode.OK
    assert states[-1] == update_pb2.RUN_STATE_COMPLETED


async def test_a_run_that_ends_while_its_caller_writes_ends_well(client: Client) -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "x"

    for _ in range(20):
        result = await client.run(line(node("a", "first", "chat")), inputs=endless()).result()
        assert (result.state, result.values) == ("completed", ("x",))


@pytest.mark.parametrize(
    "frame",
    [
        run_pb2.RunRequest(),
        given("x"),
        run_pb2.RunRequest(spec=run_pb2.RunSpec()),
        run_pb2.RunRequest(spec=run_pb2.RunSpec(pipeline_json="\x00")),
        run_pb2.RunRequest(spec=run_pb2.RunSpec(pipeline_json="[" * 100_000)),
        run_pb2.RunRequest(
            spec=run_pb2.RunSpec(pipeline_json=json.dumps(TAG), settings_json={"": "{", "a": "1", "b.": "x"})
        ),
    ],
    ids=["empty", "input-first", "no-pipeline", "no-json", "deep", "settings"],
)
async def test_nonsense_is_refused(stub: run_pb2_grpc.RunServiceAsyncStub, frame: run_pb2.RunRequest) -> None:
    call = stub.Run()
    await call.write(frame)
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details()


async def test_a_bad_input_cancels_the_run_and_is_the_reason(stub: run_pb2_grpc.RunServiceAsyncStub) -> None:
    call = stub.Run()
    await call.write(spec(TAG))
    await call.write(run_pb2.RunRequest(input=run_pb2.RunInput()))
    await call.done_writing()
    *_, last = [update async for response in call for update in response.updates]
    assert last.job.state == update_pb2.RUN_STATE_CANCELLED
    assert "an input is not a valid item" in last.job.reason


@pytest.mark.conformance("RUN-03")
async def test_a_watcher_gets_the_rest_from_any_number_on(client: Client) -> None:
    run = await client.start(TAG, inputs=["1", "2", "3"])
    whole = [update async for update in wire_updates(run)]
    assert [update.sequence for update in whole] == list(range(1, len(whole) + 1))
    for start in (0, 1, 2, len(whole) - 1, len(whole)):
        assert await rest(client, run.id, start) == whole[max(0, start - 1) :]
    for start in (len(whole) + 1, 2**63):
        with pytest.raises(LanemeshError, match=f"has ended, and the number of its last update is less than {start}"):
            await rest(client, run.id, start)
    assert [update.output.item.text for update in whole if update.WhichOneof("kind") == "output"] == ["+1", "+2", "+3"]


@pytest.mark.conformance("RUN-03")
async def test_a_watcher_that_breaks_off_goes_on_where_it_was(client: Client) -> None:
    run = client.run(TAG, open_input=True)
    outputs = run.values()
    await run.push("1")
    assert await anext(outputs) == "+1"
    watching = wire_updates(client.attach(run.id))
    seen = [await anext(watching) for _ in range(3)]
    await watching.aclose()
    await run.push("2")
    await run.end_input()
    assert [value async for value in outputs] == ["+2"]
    seen += await rest(client, run.id, 4)
    assert [update.sequence for update in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].job.state in TERMINAL


@pytest.mark.conformance("RUN-03")
async def test_a_watcher_that_never_reads_slows_nothing_and_gets_a_gap(
    client: Client, serving: Orchestrator, stub: run_pb2_grpc.RunServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.runs.memory, "budget", MIB)
    run = client.run(TAG, open_input=True)
    outputs = run.values()
    await run.push("x" * 10_000)
    await anext(outputs)
    idle = aiter(stub.WatchRun(run_pb2.WatchRunRequest(run_id=run.id, from_sequence=1)))
    first = await anext(idle)
    assert first.updates[0].sequence == 1
    reading = asyncio.ensure_future(outputs.all())  # the owner holds the run unless it reads
    for _ in range(500):
        await run.push("x" * 10_000)
    await run.end_input()
    assert len(await reading) == 500
    frames = [response async for response in idle]
    assert any(frame.HasField("gap") for frame in frames)
    expected = first.updates[-1].sequence + 1
    for frame in frames:  # what was missed and what came are all there is, nothing twice
        if frame.HasField("gap"):
            assert frame.gap.from_sequence == expected
            expected = frame.gap.to_sequence + 1
        for update in frame.updates:
            assert update.sequence == expected
            expected += 1
    assert frames[-1].updates[-1].job.state in TERMINAL


async def test_updates_that_have_queued_come_in_one_frame(
    client: Client, stub: run_pb2_grpc.RunServiceAsyncStub
) -> None:
    run = await client.start(line(node("a", "series", "chat", count=1_000)), input="go")
    assert (await run.result()).state == "completed"
    frames = [frame async for frame in stub.WatchRun(run_pb2.WatchRunRequest(run_id=run.id))]
    *full, last = [len(frame.updates) for frame in frames]
    assert full == [MAX_BATCH_UPDATES] * len(full)
    assert sum(full) + last > 1_000
    assert [update.sequence for frame in frames for update in frame.updates] == list(range(1, sum(full) + last + 1))


async def test_a_large_update_is_a_frame_of_its_own(client: Client, stub: run_pb2_grpc.RunServiceAsyncStub) -> None:
    run = await client.start(TAG, inputs=["x" * 200_000] * 3)
    assert (await run.result()).state == "completed"
    frames = [frame async for frame in stub.WatchRun(run_pb2.WatchRunRequest(run_id=run.id))]
    assert max(sum(update.HasField("output") for update in frame.updates) for frame in frames) == 1


async def test_an_unknown_run_is_an_error(client: Client) -> None:
    with pytest.raises(LanemeshError, match='there is no run "run-none" here'):
        await rest(client, "run-none")
    with pytest.raises(LanemeshError, match='there is no run "run-none" here'):
        await client.attach("run-none").cancel()
    with pytest.raises(LanemeshError, match='there is no run "run-none" here'):
        await client.attach("run-none").push("x")


async def test_a_detached_run_goes_on_without_anybody(client: Client) -> None:
    run = await client.start(line(node("a", "series", "chat", count=3_000)), input="go")
    *_, last = await rest(client, run.id, 3_000)
    assert last.job.state == update_pb2.RUN_STATE_COMPLETED


@pytest.mark.conformance("RUN-22")
async def test_a_detached_run_without_a_reader_goes_on_within_the_budget_and_a_late_watcher_gets_a_gap(
    client: Client, serving: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.runs.memory, "budget", 150_000)
    detached = await client.start(line(node("a", "series", "chat", count=20_000)), input="go")
    run = serving.runs.get(detached.id)
    await run.ended.wait()
    assert (run.output_count, run.state) == (20_000, update_pb2.RUN_STATE_COMPLETED)
    await until(lambda: not serving.runs._tasks)
    assert serving.runs.memory.held <= 150_000
    watcher = client.attach(detached.id)
    updates = [update async for update in wire_updates(watcher)]
    assert [update.sequence for update in updates] == list(range(watcher.missed + 1, run.log.last + 1))
    assert watcher.missed > 1_000
    numbers = [int(update.output.item.text) for update in updates if update.WhichOneof("kind") == "output"]
    assert numbers == list(range(numbers[0], 20_000))
    assert updates[-1].job.state in TERMINAL


@pytest.fixture
async def alone() -> AsyncIterator[Orchestrator]:
    """An orchestrator whose memory has only the runs of one test."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    yield orchestrator
    await end("the orchestrator", orchestrator.close())


@pytest.mark.conformance("RUN-22")
@pytest.mark.asyncio(loop_scope="function")
async def test_runs_that_have_ended_make_way_for_active_ones_the_oldest_first(
    alone: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = alone.runs
    async with Client(alone.address) as client:
        active = client.run(TAG, open_input=True)
        outputs = active.values()
        await active.push("first")
        await anext(outputs)
        ids = [await _complete(client) for _ in range(5)]
        await until(lambda: len(runs._tasks) == 1)
        monkeypatch.setattr(runs.memory, "budget", runs.memory.held)
        before = runs.memory.held
        pushed = 0
        while runs.find(ids[0]) is not None:
            pushed += 1
            assert pushed < ACKNOWLEDGED_BYTES // 2_000, "what the owner has acknowledged makes way as well"
            await active.push("x" * 1_000)
            await anext(outputs)
        kept = [run_id for run_id in ids if runs.find(run_id) is not None]
        assert runs.memory.held <= before
        assert 0 < len(kept) < 5
        assert kept == ids[-len(kept) :]
        watching = wire_updates(client.attach(active.id))
        assert (await anext(watching)).sequence == 1  # an active run has lost nothing
        await watching.aclose()
        with pytest.raises(LanemeshError, match="the last 200 are kept, within"):
            await rest(client, ids[0])
        await active.end_input()
        assert [value async for value in outputs] == []


@pytest.mark.conformance("RUN-22")
async def test_an_owner_gets_every_update_whatever_the_budget_is(
    client: Client, serving: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving.runs.memory, "budget", 1)
    others = [await client.start(line(node("a", "series", "chat", count=2_000)), input="go") for _ in range(3)]
    run = client.run(line(node("a", "series", "chat", count=5_000)), input="go")
    seen = [update async for update in wire_updates(run)]
    assert [update.sequence for update in seen] == list(range(1, len(seen) + 1))
    assert sum(update.WhichOneof("kind") == "output" for update in seen) == 5_000
    assert run.missed == 0
    await until(lambda: all(serving.runs.find(other.id) is None for other in others))


async def _complete(client: Client) -> str:
    result = await client.run(TAG, input="x" * 5_000).result()
    assert result.state == "completed"
    return result.run_id


async def test_nothing_stays_behind(client: Client, serving: Orchestrator) -> None:
    def ours() -> set[asyncio.Task[Any]]:
        return {
            task
            for task in asyncio.all_tasks()
            if "lanemesh" in getattr(getattr(task.get_coro(), "cr_code", None), "co_filename", "")
        }

    before = ours()
    for _ in range(3):
        await _complete(client)
    await until(lambda: not serving.host.runs and not serving.runs._tasks and not ours() - before)
