"""Runs that are stored while they are active: an update is readable only when it is written, and a failing store fails the runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lanemesh import Client
from lanemesh.client.run_host import RunHost
from lanemesh.client.run_reader import TERMINAL, wire_updates
from lanemesh.faults import LanemeshError
from lanemesh.text_outputs import last_of
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.batches import MAX_BATCH_UPDATES, Batch
from lanemesh_orchestrator.runs.records import Wanted
from lanemesh_orchestrator.runs.retention import Tail
from lanemesh_orchestrator.runs.update_log import UpdateLog
from lanemesh_orchestrator.store import journal
from lanemesh_orchestrator.store.options import StoreOptions
from lanemesh_orchestrator.store.store import RunStore, Writing

from rigs.runs import until

ECHO: dict[str, Any] = {
    "name": "echo",
    "components": [
        {"id": "chat", "provider": "chat"},
        {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "chat"}]},
    ],
}


def looked_into(place: str) -> RunStore:
    return RunStore(StoreOptions(location=place, read_only=True))


def stored(place: str, run_id: str) -> list[update_pb2.Update]:
    """The updates of a run in a store."""
    store, found, first = looked_into(place), [], 1
    while page := store.updates(run_id, first):
        found += page
        first = page[-1].sequence + 1
    store.close()
    return found


def numbers_and_kinds(updates: list[update_pb2.Update]) -> list[tuple[int, str | None]]:
    return [(update.sequence, update.WhichOneof("kind")) for update in updates]


async def test_a_run_is_in_the_store_as_its_caller_saw_it(place: str) -> None:
    async with Mesh(store=place) as mesh:
        run = mesh.run(ECHO, inputs=["a", "b"])
        seen = [update async for update in wire_updates(run)]
        found = await mesh.record(run.id)
        assert (found.stored, found.output_count, found.name) == (True, 2, "echo")
        assert [record.run_id for record in await mesh.runs()] == [run.id]
        again = [update async for update in wire_updates(mesh.attach(run.id))]
    assert numbers_and_kinds(again) == numbers_and_kinds(seen)
    assert stored(place, run.id) == seen

    async with Mesh(store=place) as later:
        assert (await later.record(run.id)).state == "completed"
        assert (await later.attach(run.id).result()).values == ("a", "b")
        assert [update.sequence async for update in wire_updates(later.attach(run.id, 4))] == [
            update.sequence for update in seen[3:]
        ]
        await later.attach(run.id).cancel()  # it has ended: nothing changes
        with pytest.raises(LanemeshError, match='no run "run-0"'):
            await later.record("run-0")
        with pytest.raises(LanemeshError, match='no run "run-0"'):
            await later.attach("run-0").result()


async def test_nobody_sees_an_update_before_it_is_written(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written, seen = RunStore.write, 0, 0

    def slow(store: RunStore, runs: Any) -> None:
        nonlocal written
        write(store, runs)
        written = max([written, *(last_of(writing.updates[-1]) for writing in runs.values() if writing.updates)])

    monkeypatch.setattr(RunStore, "write", slow)
    async with Mesh(store=place) as mesh:
        async for update in wire_updates(mesh.run(ECHO, inputs=[str(number) for number in range(500)])):
            assert update.sequence <= written
            seen = update.sequence
    assert seen == written


@asynccontextmanager
async def served(place: str) -> AsyncGenerator[RunHost, None]:
    orchestrator = Orchestrator(embedded=True, store=StoreOptions(location=place))
    await orchestrator.listen()
    try:
        async with Client(orchestrator.address) as client:
            yield client
    finally:
        await orchestrator.close()


@pytest.mark.conformance("RUN-13")
@pytest.mark.parametrize("host", [lambda place: Mesh(store=place), served], ids=["embedded", "served"])
async def test_nobody_learns_of_a_detached_run_before_it_is_written(
    host: Callable[[str], AbstractAsyncContextManager[RunHost]], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writes, may_write = RunStore.write, threading.Event(), threading.Event()

    def held(store: RunStore, runs: Any) -> None:
        writes.set()
        may_write.wait(10)
        write(store, runs)

    async with host(place) as runs:
        monkeypatch.setattr(RunStore, "write", held)
        starting = asyncio.create_task(runs.start(ECHO, input="a"))
        await asyncio.to_thread(writes.wait, 10)
        done, _ = await asyncio.wait([starting], timeout=0.2)
        may_write.set()
        run = await starting
        kept = looked_into(place)
        assert kept.record(run.id) is not None
        kept.close()
        assert (await run.result()).values == ("a",)
    assert not done


@pytest.mark.conformance("RUN-23")
async def test_runs_that_start_together_are_stored_by_one_write_of_few_statements(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writes, may_write = RunStore.write, threading.Event(), threading.Event()
    begun: list[int] = []
    statements: list[int] = []

    def held(store: RunStore, runs: Mapping[str, Writing]) -> None:
        writes.set()
        may_write.wait(10)
        statements.append(0)
        begun.append(sum(writing.begun is not None for writing in runs.values()))
        write(store, runs)

    def count(*_: object) -> None:
        if statements:
            statements[-1] += 1

    async with Mesh(store=place) as mesh:
        journal = mesh.orchestrator.runs.journal
        assert journal is not None
        sa.event.listen(journal.store._engine, "before_cursor_execute", count)
        monkeypatch.setattr(RunStore, "write", held)
        starting = [asyncio.create_task(mesh.start(ECHO, input="a"))]
        await asyncio.to_thread(writes.wait, 10)
        starting += [asyncio.create_task(mesh.start(ECHO, input="a")) for _ in range(50)]
        await until(lambda: sum(run.log.last > 0 for run in mesh.orchestrator.runs.known()) == 51)
        may_write.set()
        runs = await asyncio.gather(*starting)
        assert [(await run.result()).values for run in runs] == [("a",)] * 51
    assert begun[:2] == [1, 50]
    assert statements[1] <= 5
    stored_runs = looked_into(place).records(Wanted())
    assert [record.state for _, record in stored_runs] == [update_pb2.RUN_STATE_COMPLETED] * 51
    assert [record.run_id for _, record in stored_runs] == [run.id for run in reversed(runs)]


@pytest.mark.conformance("RUN-22")
async def test_memory_keeps_a_short_tail_and_the_store_has_the_rest(place: str) -> None:
    async with Mesh(store=place) as mesh:
        run = mesh.run(ECHO, inputs=[str(number) for number in range(3_000)], open_input=True)
        async with run:
            owned = run.values()
            assert [await anext(owned) for _ in range(3_000)] == [str(number) for number in range(3_000)]
            (frame,) = [frame async for frame in first_batch(mesh.orchestrator.runs.get(run.id).log)]
            assert isinstance(frame, run_pb2.Gap)
            assert frame.to_sequence > 3_000 - Tail().updates
            watcher = mesh.attach(run.id)
            seen: list[int] = []
            async for update in wire_updates(watcher):
                if not seen:
                    await run.end_input()
                seen.append(update.sequence)
            assert [value async for value in owned] == []
    assert seen == list(range(1, len(seen) + 1))
    assert watcher.missed == 0


async def first_batch(log: UpdateLog) -> AsyncGenerator[Batch, None]:
    """What a reader of the log alone gets first."""
    async with aclosing(log.batches(paces=False)) as batches:
        yield await anext(batches)


async def test_outputs_wait_while_the_store_is_behind(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_UPDATES", 20)
    monkeypatch.setattr(journal, "MAX_BATCH", 10)
    async with Mesh(store=place) as mesh:
        most = 0
        put = journal.Journal.put

        def watched(self: journal.Journal, told: Any) -> None:
            nonlocal most
            put(self, told)
            most = max(most, self._waiting)

        monkeypatch.setattr(journal.Journal, "put", watched)
        result = await mesh.run(ECHO, inputs=[str(number) for number in range(2_000)]).result()
    assert len(result.values) == 2_000
    assert most <= 30 + MAX_BATCH_UPDATES  # the bound, one batch of outputs, and updates of states and edges meanwhile


class Disk:
    """A disk that can be full: a small file system, or None if mounting is not permitted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Fills the disk."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Gives it back."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "lanemesh-test", str(folder)], capture_output=True, text=True
    )
    if mount.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"a small file system cannot be mounted: {mount.stderr}")
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


async def test_a_full_disk_fails_what_is_stored_and_nothing_hangs(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "PROBE_SECONDS", 0.05)
    place = str(disk.folder / "runs.sqlite")
    async with Mesh(store=place) as mesh:
        good = await mesh.run(ECHO, input="before").result()
        run = mesh.run(ECHO, open_input=True)
        async with run:
            outputs = run.values()
            await run.push("stored")
            assert await anext(outputs) == "stored"
            disk.fill()
            with suppress(LanemeshError):  # the run fails under the client
                while True:
                    await run.push("x" * 60_000)
            with pytest.raises(LanemeshError, match="cannot be written") as failed:
                async for _ in outputs:
                    pass
        assert failed.value.fault.reason == "store-failed"
        with pytest.raises(LanemeshError, match="cannot be written") as refused:
            await mesh.run(ECHO, input="while it is full").result()
        assert refused.value.fault.reason == "store-failed"
        assert [record.levelname for record in caplog.records if "cannot be written" in record.getMessage()] == [
            "ERROR"
        ]

        disk.free()
        async with asyncio.timeout(20):
            while mesh.orchestrator.runs.journal.failure is not None:  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        after = await mesh.run(ECHO, input="after").result()
        assert (good.state, after.state) == ("completed", "completed")
        records = await mesh.runs()
        assert [record.state for record in records] == ["completed", "failed", "completed"]
        assert "cannot be written" in records[1].error.message  # type: ignore[union-attr]
        seen = [update async for update in wire_updates(mesh.attach(run.id))]
    kept = stored(place, run.id)
    assert kept == seen  # what clients saw meanwhile is in the store, under the same numbers
    assert next(update.output.item.text for update in kept if update.WhichOneof("kind") == "output") == "stored"
    assert kept[-1].job.state in TERMINAL


async def test_a_call_of_a_closed_store_is_refused(place: str) -> None:
    writing = journal.Journal(RunStore(StoreOptions(location=place)), StoreOptions(location=place))
    release = threading.Event()
    calls = [asyncio.create_task(writing.call(lambda _: release.wait(30))) for _ in range(2)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(writing.close())
    await asyncio.sleep(0)
    with pytest.raises(LanemeshError, match="is closed, because the orchestrator stops"):
        await writing.call(lambda store: store.updates("none", 1))
    release.set()
    await closing
    assert [await call for call in calls] == [True, True]  # they came before
    with pytest.raises(LanemeshError, match="is closed"):
        await writing.call(lambda store: store.updates("none", 1))


async def test_an_error_in_the_thread_of_the_store_fails_what_waits_for_it(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = threading.Event()

    def broken(self: RunStore, days: float, runs: int) -> bool:
        called.wait(30)
        raise ValueError("broken")

    monkeypatch.setattr(RunStore, "forget", broken)
    writing = journal.Journal(RunStore(StoreOptions(location=place)), StoreOptions(location=place))
    call = asyncio.create_task(writing.call(lambda store: store.updates("none", 1)))
    await asyncio.sleep(0)
    called.set()
    for answer in (call, writing.call(lambda store: store.updates("none", 1))):
        with pytest.raises(LanemeshError, match=r"has failed: broken\. Restart the orchestrator"):
            async with asyncio.timeout(10):
                await answer
    await writing.close()


async def test_a_mesh_that_cannot_open_its_store_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "runs.sqlite").write_text("garbage" * 1000)
    with pytest.raises(LanemeshError, match="cannot be used"):
        async with Mesh(store=tmp_path / "runs.sqlite"):
            pass


async def test_deployed_pipelines_are_remembered(place: str) -> None:
    from lanemesh import Deployed
    from lanemesh_orchestrator.orchestrator import Orchestrator

    async def served(work: Any) -> None:
        orchestrator = Orchestrator(embedded=True, store=StoreOptions(location=place))
        await orchestrator.listen()
        try:
            from lanemesh import Client

            async with Client(orchestrator.address) as client:
                await work(client)
        finally:
            await orchestrator.close()

    async def deploy(client: Any) -> None:
        await client.deploy("echo", ECHO)
        await client.deploy("echo", ECHO)

    async def use(client: Any) -> None:
        assert (await client.run(Deployed("echo"), input="x").result()).values == ("x",)
        (record,) = await client.runs(deployment="echo")
        assert record.deployment_version == 2
        await client.undeploy("echo")

    async def none(client: Any) -> None:
        assert await client.deployments() == []

    for work in (deploy, use, none):
        await served(work)


async def test_superseded_versions_above_the_limit_are_deleted_from_the_store(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lanemesh_orchestrator.deployments import deployments

    monkeypatch.setattr(deployments, "MAX_VERSIONS", 3)
    spec = run_pb2.RunSpec(pipeline_json=json.dumps(ECHO))

    async def stored(orchestrator: Orchestrator) -> list[tuple[str, int]]:
        assert orchestrator.runs.journal is not None
        return sorted(row[:2] for row in await orchestrator.runs.journal.call(lambda store: store.deployments()))

    orchestrator = Orchestrator(embedded=True, store=StoreOptions(location=place))
    await orchestrator.listen()
    for name in "aaaaab":
        await orchestrator.deployments.deploy(name, spec)
    assert await stored(orchestrator) == [("a", 3), ("a", 4), ("a", 5), ("b", 1)]
    await orchestrator.close()

    monkeypatch.setattr(deployments, "MAX_VERSIONS", 2)  # the store has more versions than are kept
    again = Orchestrator(embedded=True, store=StoreOptions(location=place))
    await again.listen()
    assert await stored(again) == [("a", 4), ("a", 5), ("b", 1)]
    await again.close()
