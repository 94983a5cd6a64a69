"""Owners of a shared store in PostgreSQL whose connections break, and which go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.store import ownership
from lanemesh_orchestrator.store.journal import Journal
from lanemesh_orchestrator.store.location import locate
from lanemesh_orchestrator.store.options import StoreOptions
from lanemesh_orchestrator.store.ownership import AdvisoryLocks
from lanemesh_orchestrator.store.store import RunStore, Writing


@pytest.fixture
def stores(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RunStore, RunStore]]:
    """An owner with the active run `run-1`, and another owner."""
    owner, other = (RunStore(StoreOptions(location=database)) for _ in range(2))
    record = run_pb2.RunRecord(run_id="run-1", state=update_pb2.RUN_STATE_RUNNING)
    update = update_pb2.Update(sequence=1)
    update.job.run_id, update.job.state = "run-1", update_pb2.RUN_STATE_RUNNING
    owner.write({"run-1": Writing(begun=(record, "{}"), updates=[update], record=record)})
    monkeypatch.setattr(ownership, "GONE_SECONDS", 3_600.0)
    yield owner, other
    if not locks_of(owner)._connection.closed:  # its journal has not closed it
        owner.close()
    monkeypatch.setattr(ownership, "GONE_SECONDS", 0.0)
    other.end_lost()
    other.forget(0.0, 0)
    other.close()


def locks_of(store: RunStore) -> AdvisoryLocks:
    assert isinstance(store._ownership, AdvisoryLocks)
    return store._ownership


def break_lock(store: RunStore, database: str) -> None:
    """Ends the connection that holds the locks of an owner."""
    process = locks_of(store)._connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    engine = sa.create_engine(locate(database).url)
    with engine.begin() as connection:
        # It returns when the process has ended, which releases the locks.
        assert connection.execute(
            sa.text("SELECT pg_terminate_backend(:process, 10000)"), {"process": process}
        ).scalar()
    engine.dispose()


def state_of(store: RunStore) -> int:
    found = store.record("run-1")
    assert found is not None
    return found.run.state


def test_the_runs_of_an_owner_whose_connection_broke_go_on(
    stores: tuple[RunStore, RunStore], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = stores
    break_lock(owner, database)
    assert other.end_lost()
    assert state_of(other) == update_pb2.RUN_STATE_RUNNING
    owner.keep()
    monkeypatch.setattr(ownership, "GONE_SECONDS", 0.0)
    assert not other.end_lost()
    assert state_of(other) == update_pb2.RUN_STATE_RUNNING
    break_lock(owner, database)
    assert not other.end_lost()
    assert state_of(other) == update_pb2.RUN_STATE_FAILED


def test_an_owner_whose_own_connection_broke_finds_those_that_have_ended(
    stores: tuple[RunStore, RunStore], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = stores
    break_lock(owner, database)
    break_lock(other, database)
    assert other.end_lost()
    monkeypatch.setattr(ownership, "GONE_SECONDS", 0.0)
    assert not other.end_lost()
    assert state_of(other) == update_pb2.RUN_STATE_FAILED


async def test_an_owner_without_writes_takes_a_lost_lock_again(
    stores: tuple[RunStore, RunStore], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = stores
    monkeypatch.setattr(AdvisoryLocks, "keep_seconds", 0.01)
    kept, loop, keep = asyncio.Event(), asyncio.get_running_loop(), owner.keep
    is_broken = False

    def counted() -> None:
        was_broken = is_broken
        keep()
        if was_broken:
            loop.call_soon_threadsafe(kept.set)

    await asyncio.to_thread(break_lock, owner, database)
    assert await asyncio.to_thread(other.end_lost)
    is_broken = True
    monkeypatch.setattr(owner, "keep", counted)
    journal = Journal(owner, StoreOptions(location=database))
    try:
        await asyncio.wait_for(kept.wait(), 30)
        assert not await asyncio.to_thread(other.end_lost)
        assert state_of(other) == update_pb2.RUN_STATE_RUNNING
    finally:
        await journal.close()
