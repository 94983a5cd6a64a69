"""The store of runs: what is written comes back, who owns it, and what is forgotten."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lanemesh.faults import Fault, LanemeshError
from lanemesh.text_outputs import Entry, each_update
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.runs.records import Wanted
from lanemesh_orchestrator.store.history import StoredHistory
from lanemesh_orchestrator.store.location import default_store, locate
from lanemesh_orchestrator.store.migrate import migrate
from lanemesh_orchestrator.store.options import StoreOptions
from lanemesh_orchestrator.store.packing import LARGE_BYTES
from lanemesh_orchestrator.store.store import FORGET_AT_ONCE, PAGE_ROWS, RunStore, Writing
from lanemesh_orchestrator.store.tables import LARGE_VALUES, RUNS, UPDATES

COMPLETED, RUNNING, FAILED = update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_RUNNING, update_pb2.RUN_STATE_FAILED


def opened(place: str, *, shared: bool = True, read_only: bool = False) -> RunStore:
    return RunStore(StoreOptions(location=place, shared=shared, read_only=read_only))


def output(sequence: int, text: str) -> update_pb2.Update:
    update = update_pb2.Update(sequence=sequence)
    update.output.component, update.output.port, update.output.item.text = "out", "text", text
    return update


def record(run_id: str, state: update_pb2.RunState.ValueType = RUNNING, **fields: Any) -> run_pb2.RunRecord:
    made = run_pb2.RunRecord(run_id=run_id, state=state, **fields)
    if state != RUNNING:
        made.ended_at.GetCurrentTime()
    return made


def wrote(store: RunStore, run_id: str, texts: Iterable[str] = (), *, ended: bool = True, **fields: Any) -> None:
    """Writes a run with these outputs."""
    updates: list[Entry] = [output(number, text) for number, text in enumerate(texts, 1)]
    begun = (record(run_id, **fields), f"the document of {run_id}")
    store.write(
        {run_id: Writing(begun=begun, updates=updates, record=record(run_id, COMPLETED, **fields))}
        if ended
        else {run_id: Writing(begun=begun, updates=updates)}
    )


def texts(store: RunStore, run_id: str, first: int = 1) -> list[str]:
    """The outputs of a run, page by page."""
    found: list[str] = []
    while page := store.updates(run_id, first):
        found += [update.output.item.text for update in page if update.WhichOneof("kind") == "output"]
        first = page[-1].sequence + 1
    return found


def count(store: RunStore, table: sa.Table) -> int:
    with store._engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


async def test_updates_that_are_missing_in_a_store_are_reported_as_gaps(place: str) -> None:
    store = opened(place)
    for first in range(1, 13, 3):  # each in a row of its own
        begun = (record("run-1"), "the document") if first == 1 else None
        updates: list[Entry] = [output(number, f"{number}") for number in range(first, first + 3)]
        store.write({"run-1": Writing(begun=begun, updates=updates)})
    with store._engine.begin() as connection:
        connection.execute(UPDATES.delete().where(UPDATES.c.first.in_([1, 7])))
    found = [
        (batch.from_sequence, batch.to_sequence)
        if isinstance(batch, run_pb2.Gap)
        else [update.sequence for update in each_update(batch)]
        async for batch in StoredHistory(store, lambda _: None).batches("run-1", 2)
    ]
    assert found == [(2, 3), [4, 5, 6], (7, 9), [10, 11, 12]]
    store.close()


def test_what_is_written_comes_back(place: str) -> None:
    store = opened(place)
    wrote(store, "run-1", ["a", "", "ß", "d"], name="first", output_count=4)
    store.close()

    again = opened(place)
    found = again.record("run-1")
    assert found is not None
    assert (found.run.name, found.run.state, found.run.stored) == ("first", COMPLETED, True)
    assert found.pipeline_json == "the document of run-1"
    assert texts(again, "run-1") == ["a", "", "ß", "d"]
    assert texts(again, "run-1", 3) == ["ß", "d"]
    assert again.record("run-2") is None
    assert again.updates("run-2", 1) == []
    again.close()


def test_batches_of_a_run_are_one_sequence(place: str) -> None:
    store = opened(place)
    wrote(store, "run-1", ["0"], ended=False)
    for number in range(2, 300):
        store.write({"run-1": Writing(updates=[output(number, str(number))])})
    assert [update.sequence for update in store.updates("run-1", 1)] == list(range(1, PAGE_ROWS + 1))
    assert texts(store, "run-1") == ["0", *(str(number) for number in range(2, 300))]
    store.close()


def test_runs_are_listed_the_latest_first_page_by_page(place: str) -> None:
    store = opened(place)
    for number in range(5):
        wrote(store, f"run-{number}", deployment="chat" if number % 2 else "")
    wrote(store, "run-5", ended=False)

    first = store.records(Wanted(most=2))
    second = store.records(Wanted(most=10, before=first[-1][0]))
    assert [one.run_id for _, one in (*first, *second)] == [f"run-{number}" for number in range(5, -1, -1)]
    assert [one.run_id for _, one in store.records(Wanted(states=[RUNNING]))] == ["run-5"]
    assert [one.run_id for _, one in store.records(Wanted(deployment="chat"))] == ["run-3", "run-1"]
    store.close()


def test_large_items_lie_once_and_go_with_the_last_run_that_has_them(place: str) -> None:
    store = opened(place)
    large = "x" * LARGE_BYTES
    wrote(store, "run-1", ["a", large, large])
    wrote(store, "run-2", [large, "y" * LARGE_BYTES])

    assert texts(store, "run-1") == ["a", large, large]
    assert texts(store, "run-2") == [large, "y" * LARGE_BYTES]
    assert count(store, LARGE_VALUES) == 2
    store.forget(days=30, runs=1)
    assert (count(store, RUNS), count(store, LARGE_VALUES)) == (1, 2)
    assert texts(store, "run-2") == [large, "y" * LARGE_BYTES]
    store.forget(days=0, runs=100)
    assert (count(store, RUNS), count(store, LARGE_VALUES), count(store, UPDATES)) == (0, 0, 0)
    store.close()


def test_owners_that_write_the_same_large_items_at_once_all_succeed(place: str) -> None:
    stores = [opened(place) for _ in range(3)]
    same_moment = threading.Barrier(len(stores))

    def write(owner: int, turn: int) -> None:
        large = [f"{turn}{letter}" * LARGE_BYTES for letter in "ab"]
        same_moment.wait()
        wrote(stores[owner], f"run-{owner}-{turn}", large if owner else large[::-1])

    with ThreadPoolExecutor(len(stores)) as pool:
        for turn in range(8):
            list(pool.map(write, range(len(stores)), [turn] * len(stores)))

    assert (count(stores[0], RUNS), count(stores[0], LARGE_VALUES)) == (24, 16)
    while stores[0].forget(days=0, runs=0):
        pass  # it deletes some at a time
    assert (count(stores[0], RUNS), count(stores[0], LARGE_VALUES)) == (0, 0)
    for store in stores:
        store.close()


def test_runs_are_forgotten_by_age_and_by_number_but_not_those_under_way(place: str) -> None:
    store = opened(place)
    wrote(store, "going", ["a"], ended=False)
    for number in range(FORGET_AT_ONCE + 10):
        wrote(store, f"run-{number}")
    assert store.forget(days=30, runs=3)
    assert not store.forget(days=30, runs=3)
    assert [one.run_id for _, one in store.records(Wanted())] == ["run-59", "run-58", "run-57", "going"]
    old = time.time() - 40 * 86_400
    with store._engine.begin() as connection:
        connection.execute(RUNS.update().where(RUNS.c.run_id == "run-58").values(ended_at=old))
    assert not store.forget(days=30, runs=100)
    assert [one.run_id for _, one in store.records(Wanted())] == ["run-59", "run-57", "going"]
    store.close()


def test_a_clock_that_jumps_changes_no_order_and_forgets_nothing_early(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(place)
    wrote(store, "run-1")
    before = time.time()
    for days in (-100, 100):
        monkeypatch.setattr(time, "time", lambda jump=days: before + jump * 86_400)
        wrote(store, f"run-{days}")
        assert not store.forget(days=30, runs=100)
    assert [one.run_id for _, one in store.records(Wanted())] == ["run-100", "run--100", "run-1"]
    store.close()


def test_an_exclusive_owner_keeps_others_out(place: str) -> None:
    store = opened(place, shared=False)
    for shared in (True, False):
        with pytest.raises(LanemeshError, match="--shared-store") as refused:
            opened(place, shared=shared)
        assert refused.value.fault.reason == "store-in-use"
    reader = opened(place, read_only=True)
    assert reader.records(Wanted()) == []
    reader.close()
    store.close()
    opened(place, shared=False).close()


def test_several_share_a_store_and_none_gets_it_exclusively(place: str) -> None:
    one, other = opened(place), opened(place)
    wrote(one, "run-1", ["a"], ended=False)
    wrote(other, "run-2", ["b"])
    third = opened(place)
    assert third.record("run-1").run.state == RUNNING  # type: ignore[union-attr]
    with pytest.raises(LanemeshError, match="is used by another"):
        opened(place, shared=False)
    for store in (one, other, third):
        store.close()


DIES = """
import os, sys
from conformance.store.test_store import opened, wrote
store = opened(sys.argv[1])
wrote(store, "run-1", ["a", "b"], ended=False)
os._exit(0)
"""


def test_runs_of_an_owner_that_died_are_ended_and_numbered_on(place: str) -> None:
    living = opened(place)
    wrote(living, "run-0", ["x"], ended=False)
    subprocess.run(
        [sys.executable, "-c", DIES, place], cwd=Path(__file__).parents[2], check=True, env=_with_tests_on_path()
    )
    store = opened(place)

    assert store.record("run-0").run.state == RUNNING  # type: ignore[union-attr]
    lost = store.record("run-1")
    assert lost is not None
    assert (lost.run.state, lost.run.output_count, lost.run.last_sequence) == (FAILED, 2, 3)
    assert Fault.from_proto(lost.run.error).reason == "orchestrator-lost"
    updates = store.updates("run-1", 1)
    assert [update.sequence for update in updates] == [1, 2, 3]
    assert updates[-1].job.error.message == lost.run.error.message
    assert updates[-1].job.state == FAILED
    for one in (store, living):
        one.close()


def _with_tests_on_path() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_probe_leaves_nothing_behind(place: str) -> None:
    store = opened(place)
    store.probe()
    assert count(store, LARGE_VALUES) == 0
    store.close()


def test_equal_values_lie_once_whatever_is_known_of_them_besides(place: str) -> None:
    store = opened(place)
    first, second = output(1, "x" * LARGE_BYTES), output(2, "x" * LARGE_BYTES)
    first.output.item.group.id, second.output.item.created_at.seconds = "g", 7
    store.write({"run-1": Writing(begun=(record("run-1"), ""), updates=[first, second])})
    assert count(store, LARGE_VALUES) == 1
    assert store.updates("run-1", 1) == [first, second]
    store.close()


def test_several_open_a_new_store_at_the_same_moment(place: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for store in threads.map(lambda _: opened(place), range(4)):
            store.close()


def test_an_older_store_is_brought_up_to_date(place: str) -> None:
    location = locate(place)
    engine = sa.create_engine(location.url)
    with engine.begin() as connection:
        migrate(connection, location.shown, to="0001")
    with pytest.raises(LanemeshError, match="earlier version"):
        opened(place, read_only=True)
    assert "deployments" not in sa.inspect(engine).get_table_names()
    store = opened(place)
    store.add_deployment("chat", 1, b"spec", 1.5, "/srv")
    assert store.deployments() == [("chat", 1, b"spec", 1.5, "/srv")]
    store.remove_deployment("chat")
    assert store.deployments() == []
    store.close()
    engine.dispose()


def test_a_store_of_a_later_version_is_refused(place: str) -> None:
    opened(place).close()
    engine = sa.create_engine(locate(place).url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for read_only in (False, True):
        with pytest.raises(LanemeshError, match="later version of Lanemesh"):
            opened(place, read_only=read_only)


def test_the_tables_are_those_that_the_code_means(place: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from lanemesh_orchestrator.store.tables import METADATA

    opened(place).close()
    engine = sa.create_engine(locate(place).url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder.joinpath("runs.sqlite").write_text("garbage" * 1000), "file is not a database"),
        (lambda folder: folder.joinpath("runs.sqlite").mkdir(), "cannot be used"),
        (lambda folder: folder.joinpath("runs.sqlite.owners").write_text("x"), "cannot be used"),
    ],
)
def test_what_is_no_store_is_refused_in_words(tmp_path: Path, make: object, told: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(LanemeshError, match=told) as refused:
        opened(str(tmp_path / "runs.sqlite"))
    assert "--store" in str(refused.value)


@pytest.mark.parametrize("given", ["mysql://u@h/d", "nothing://x", "://", "sqlite://"])
def test_what_is_no_location_is_refused_in_words(given: str) -> None:
    with pytest.raises(LanemeshError, match=r"runs\.sqlite"):
        locate(given)


def test_an_unreachable_database_is_reported_without_its_password() -> None:
    with pytest.raises(LanemeshError, match="cannot be used") as refused:
        opened("postgresql://u:hunter22@127.0.0.1:1/d")
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_that_cannot_hold_every_text_is_refused(database: str, encoding: str, read_only: bool) -> None:
    name = f"other_{encoding.lower()}_{int(read_only)}"
    create = f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with sa.create_engine(locate(database).url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(create))
    with pytest.raises(LanemeshError, match=f"encoding {encoding}, and runs need UTF8") as refused:
        opened(sa.make_url(database).set(database=name).render_as_string(), read_only=read_only)
    assert refused.value.fault.reason == "store-encoding"
    assert f"createdb --encoding=UTF8 --template=template0 {name}_utf8" in str(refused.value)


def test_a_store_that_is_only_looked_into_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(LanemeshError, match="there is no store"):
        opened(str(tmp_path / "none.sqlite"), read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_the_users_own_store_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert default_store() == str(tmp_path / "state" / "lanemesh" / "runs.sqlite")
    opened(default_store()).close()
    assert (tmp_path / "state" / "lanemesh" / "runs.sqlite").stat().st_mode & 0o077 == 0
