"""Two orchestrators of one store: clients of either reach the runs of both."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager

import pytest
from lanemesh import Client, RunFailed
from lanemesh._grpc.security import Security
from lanemesh.client.updates import ApprovalUpdate, OutputUpdate
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs import elsewhere
from lanemesh_orchestrator.store import history
from lanemesh_orchestrator.store.options import StoreOptions
from lanemesh_orchestrator.store.store import RunStore, Writing

from rigs.doors import Doors
from rigs.runs import NODES, line, node

APPROVALS = NODES.with_name("approval_nodes.py")
TAG = line(node("a", "tag", "chat", mark="+"))


@asynccontextmanager
async def listening(place: str, security: Security | None = None) -> AsyncIterator[Orchestrator]:
    """An orchestrator that shares a store."""
    orchestrator = Orchestrator(
        embedded=True, nodes=[NODES, APPROVALS], store=StoreOptions(location=place), security=security
    )
    await orchestrator.listen()
    try:
        yield orchestrator
    finally:
        await orchestrator.close()


@contextmanager
def owner_of(place: str, run_id: str, *, address: str = "") -> Iterator[None]:
    """An owner in the place of another process, with one active run."""
    store = RunStore(StoreOptions(location=place))
    if address:
        store.announce(address)
    record = run_pb2.RunRecord(run_id=run_id, state=update_pb2.RUN_STATE_RUNNING)
    update = update_pb2.Update(sequence=1)
    update.job.run_id, update.job.state = run_id, update_pb2.RUN_STATE_RUNNING
    store.write({run_id: Writing(begun=(record, "{}"), updates=[update], record=record)})
    try:
        yield
    finally:
        store.close()


@asynccontextmanager
async def two_orchestrators(place: str) -> AsyncIterator[tuple[Orchestrator, Client, Client]]:
    """The first of two orchestrators of a store, and a client of each."""
    async with (
        listening(place) as one,
        listening(place) as other,
        Client(one.address) as here,
        Client(other.address) as there,
    ):
        yield one, here, there


async def test_a_client_of_the_other_orchestrator_feeds_watches_and_cancels_a_run(place: str) -> None:
    async with two_orchestrators(place) as (owner, here, there):
        started = await here.start(TAG, input="0", open_input=True)
        run = there.attach(started.id)
        outputs = run.outputs()
        assert (await anext(outputs)).value == "+0"
        await run.push("1")  # the run goes on, and so does the watch
        assert (await anext(outputs)).value == "+1"
        await run.cancel("enough")
        sequences = [update.sequence async for update in there.attach(started.id).updates()]
        assert sequences == list(range(1, len(sequences) + 1))
        with pytest.raises(RunFailed, match="cancelled: enough"):
            await anext(outputs)
        assert (run.state, owner.runs.get(started.id).reason) == ("cancelled", "enough")
        assert (await there.record(started.id)).state == "cancelled"


async def test_a_watch_at_the_other_orchestrator_lasts_to_the_end_of_the_run(place: str) -> None:
    async with two_orchestrators(place) as (_, here, there):
        started = await here.start(TAG, input="0", open_input=True)
        run = there.attach(started.id)
        watching = asyncio.create_task(_outputs(run.updates()))
        for number in range(1, 5):
            await started.push(str(number))
        await started.end_input()
        assert await watching == ["+0", "+1", "+2", "+3", "+4"]
        assert run.state == "completed"


async def test_the_record_of_a_run_has_its_approvals_at_the_other_orchestrator(place: str) -> None:
    asks = line(node("a", "careful", "chat"))
    async with two_orchestrators(place) as (_, here, there):
        run = await here.start(asks, input="bob")
        async with aclosing(run.updates()) as updates:
            asked = await anext(update async for update in updates if isinstance(update, ApprovalUpdate))
            for client in (here, there):
                approvals = (await client.record(run.id)).approvals
                assert [(one.call_id, one.component) for one in approvals] == [(asked.call_id, "a")]
            await there.approve(run.id, asked.call_id)
        assert await run.text() == "approved"
        assert (await there.record(run.id)).approvals == ()


async def test_a_record_whose_owner_does_not_answer_is_that_of_the_store(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end_lost(_: object) -> None:
        pytest.fail("a record was read, and runs of owners that may be gone were looked for")

    monkeypatch.setattr(elsewhere, "RECORD_SECONDS", 0.2)
    monkeypatch.setattr(history.StoredHistory, "end_lost", end_lost)
    silent = socket.create_server(("127.0.0.1", 0))
    addresses = ("127.0.0.1:1", f"127.0.0.1:{silent.getsockname()[1]}", "")
    async with listening(place) as other, Client(other.address) as there:
        with silent:
            for number, address in enumerate(addresses):
                with owner_of(place, f"run-{number}", address=address):
                    assert (await there.record(f"run-{number}")).state == "running"


async def _outputs(updates: AsyncIterator[object]) -> list[object]:
    return [update.value async for update in updates if isinstance(update, OutputUpdate)]


async def test_the_runs_of_an_owner_that_is_gone_end_at_the_other(place: str) -> None:
    async with listening(place) as other, Client(other.address) as there:
        with owner_of(place, "run-gone", address="127.0.0.1:1"):
            watching = asyncio.create_task(_states(there, "run-gone"))
            await asyncio.wait([watching], timeout=0)
        assert await watching == ["running", "failed"]
        with owner_of(place, "run-lost", address="127.0.0.1:1"):
            pass
        await there.attach("run-lost").cancel()  # it has ended, which is no error
        record = await there.record("run-lost")
        assert record.error is not None
        assert (record.state, record.error.reason) == ("failed", "orchestrator-lost")


async def _states(client: Client, run_id: str) -> list[object]:
    return [getattr(update, "state", None) async for update in client.attach(run_id).updates()]


async def test_a_call_that_does_not_reach_the_owner_names_its_address(place: str) -> None:
    async with listening(place) as other, Client(other.address) as there:
        with owner_of(place, "run-1", address="127.0.0.1:1"), owner_of(place, "run-2"):
            for run_id, code, why in (
                ("run-1", Code.UNAVAILABLE, "orchestrator 127.0.0.1:1, which cannot be reached"),
                ("run-2", Code.FAILED_PRECONDITION, "which serves no calls"),
            ):
                run = there.attach(run_id)
                for call in (run.cancel(), run.push("x"), there.approve(run_id, "call-1")):
                    with pytest.raises(LanemeshError, match=why) as refused:
                        await call
                    assert (refused.value.fault.code, refused.value.fault.reason) == (code, "run-elsewhere")
        with owner_of(place, "run-3", address=other.address):  # a forwarded call is not forwarded again
            with pytest.raises(LanemeshError, match=f"active at the orchestrator {other.address}") as refused:
                await there.attach("run-3").cancel()
            assert refused.value.fault.reason == "run-elsewhere"


async def test_a_forwarded_call_carries_the_token_of_its_caller(tmp_path_factory: pytest.TempPathFactory) -> None:
    doors = Doors(tmp_path_factory.mktemp("doors"))
    place = str(doors.folder / "runs.sqlite")
    mesh = doors.tokens_only("node")  # it may not cancel runs itself
    async with listening(place, mesh) as owner, listening(place, mesh) as other:
        runner, watcher = doors.token("runner"), doors.token("watcher")
        async with Client(owner.address, token=runner) as here, Client(other.address, token=runner) as there:
            run = await here.start(TAG, open_input=True)
            async with Client(other.address, token=watcher) as watching:
                with pytest.raises(LanemeshError, match="scope"):
                    await watching.attach(run.id).cancel()
            await there.attach(run.id).cancel("enough")
            await owner.runs.get(run.id).ended.wait()
            assert owner.runs.get(run.id).reason == "enough"


def test_several_that_find_a_lost_run_end_it_once(place: str) -> None:
    stores = [RunStore(StoreOptions(location=place)) for _ in range(4)]
    for number in range(5):
        with owner_of(place, f"run-{number}"):
            pass
    with ThreadPoolExecutor(len(stores)) as threads:
        list(threads.map(RunStore.end_lost, stores))
    for number in range(5):
        updates = stores[0].updates(f"run-{number}", 1)
        assert [update.job.state for update in updates] == [update_pb2.RUN_STATE_RUNNING, update_pb2.RUN_STATE_FAILED]
    for store in stores:
        store.close()


async def test_a_forwarded_input_waits_as_long_as_its_caller(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "FORWARD_SECONDS", 0.0)
    async with two_orchestrators(place) as (_, here, there):
        started = await here.start(TAG, open_input=True)
        await there.attach(started.id).push("1")
        assert (await anext(started.outputs())).value == "+1"


async def test_a_watch_goes_on_while_the_store_cannot_be_written(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LOST_SECONDS", 0.0)
    monkeypatch.setattr(history, "MOST_POLL_SECONDS", 0.01)
    looks: asyncio.Queue[None] = asyncio.Queue()

    async def failing() -> bool:
        looks.put_nowait(None)
        raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="store-failed", message="it is full"))

    store = RunStore(StoreOptions(location=place))
    with owner_of(place, "run-1"):
        watching = asyncio.create_task(_batches(history.StoredHistory(store, lambda _: None, failing)))
        for _ in range(2):
            await asyncio.wait_for(looks.get(), 30)
    await asyncio.to_thread(store.end_lost)
    assert await watching == [update_pb2.RUN_STATE_RUNNING, update_pb2.RUN_STATE_FAILED]
    store.close()


async def _batches(stored: history.StoredHistory) -> list[int]:
    found: list[int] = []
    async for batch in stored.batches("run-1", 1):
        assert isinstance(batch, list)
        found.extend(update.job.state for update in batch)
    return found
