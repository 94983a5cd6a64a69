"""A store of runs: records, updates and outputs in a database. Synchronous; used from threads."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, first_of, last_of
from lanemesh.times import seconds_of, stamp
from lanemesh.v1 import run_pb2, update_pb2
from sqlalchemy.exc import SQLAlchemyError

from lanemesh_orchestrator.runs.records import SequenceTag, Wanted
from lanemesh_orchestrator.store import bulk
from lanemesh_orchestrator.store import ownership as locks
from lanemesh_orchestrator.store.engines import reading_engine, writing_engine
from lanemesh_orchestrator.store.errors import first_line, store_error
from lanemesh_orchestrator.store.location import Location, locate
from lanemesh_orchestrator.store.migrate import check, migrate
from lanemesh_orchestrator.store.options import StoreOptions
from lanemesh_orchestrator.store.ownership import LOST_LOCK, Ownership, own
from lanemesh_orchestrator.store.packing import Packed, count_outputs, hashes_in, pack, unpack
from lanemesh_orchestrator.store.tables import DEPLOYMENTS, LARGE_VALUE_USES, LARGE_VALUES, OWNERS, RUNS, UPDATES

PAGE_ROWS = 8
"""Rows of updates that are read at once; each has at most about 1 MiB, or one larger item."""
FORGET_AT_ONCE = 50
"""Maximum number of runs that are deleted at once."""
TERMINAL = (update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED, update_pb2.RUN_STATE_CANCELLED)

log = logging.getLogger("lanemesh.store")

R = TypeVar("R")
T = TypeVar("T")


@dataclass(slots=True)
class Writing:
    """The pending writes of one run."""

    begun: tuple[run_pb2.RunRecord, str] | None = None
    """Its record and its pipeline, if it is new."""
    updates: list[Entry] = field(default_factory=list)
    """In order."""
    record: run_pb2.RunRecord | None = None
    """Its record as of the last of them, if that has changed."""


class RunStore:
    """An open store. One thread writes; any thread reads."""

    def __init__(self, options: StoreOptions) -> None:
        """Opens a store, and creates it if there is none. Ends runs whose orchestrator has ended.

        Raises:
            LanemeshError: it cannot be opened, another process has it open, or it is of a later version.
        """
        self.location = locate(options.location)
        self.owner = f"{os.getpid()}-{secrets.token_hex(6)}"
        """The owner of the written runs."""
        self._opened_at = (time.time(), time.monotonic())
        self._numbers: dict[str, int] = {}
        """Row numbers of the runs that are being written."""
        self._ownership: Ownership | None = None
        file = self.location.file
        if options.read_only and file is not None and not file.is_file():
            raise store_error(
                "no-store", f"there is no store {file}. Correct --store, or create a store with `lanemesh run --store`"
            )
        try:
            self._engine = reading_engine(self.location) if options.read_only else writing_engine(self.location)
        except (SQLAlchemyError, OSError, ImportError) as error:
            raise _unopened(self.location, error) from None
        try:
            if options.read_only:
                with self._engine.connect() as connection:
                    check(connection, self.location.shown)
                return
            self._ownership = own(self.location, self._engine, self.owner, shared=options.shared)
            with self._ownership.opening(), self._engine.begin() as connection:
                migrate(connection, self.location.shown)
            if self.end_lost():
                time.sleep(locks.GONE_SECONDS)
                self.end_lost()
        except (SQLAlchemyError, OSError) as error:
            self.close()
            raise _unopened(self.location, error) from None
        except LanemeshError:
            self.close()
            raise

    def write(self, runs: Mapping[str, Writing]) -> None:
        """Writes the pending writes of several runs, all or none. Raises SQLAlchemyError."""
        packed = {run_id: pack(writing.updates) for run_id, writing in runs.items() if writing.updates}
        new = [run_id for run_id in runs if run_id not in self._numbers]
        with self._writing() as connection:
            begun = dict(zip(new, bulk.new_numbers(connection, len(new)), strict=True))
            numbers = {run_id: begun.get(run_id) or self._numbers[run_id] for run_id in runs}
            self._put(connection, [(numbers[run_id], writing) for run_id, writing in runs.items()])
            self._add_large(connection, {numbers[run_id]: content.large for run_id, content in packed.items()})
            bulk.insert(
                connection,
                UPDATES,
                [_updates_row(numbers[run_id], runs[run_id].updates, content) for run_id, content in packed.items()],
            )
        self._numbers.update(begun)
        for run_id, writing in runs.items():
            if writing.record is not None and writing.record.state in TERMINAL:
                self._numbers.pop(run_id, None)

    def probe(self) -> None:
        """Raises an error unless the store can be written, with some free space, and is still ours."""
        probe = {"hash": secrets.token_bytes(32), "content": bytes(256 * 1024)}
        with self._writing() as connection:
            connection.execute(LARGE_VALUES.insert(), probe)
        with self._writing() as connection:
            connection.execute(LARGE_VALUES.delete().where(LARGE_VALUES.c.hash == probe["hash"]))

    def record(self, run_id: str) -> run_pb2.GetRunResponse | None:
        """The record of a run; None if the run is unknown."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(RUNS.c.record, RUNS.c.pipeline).where(RUNS.c.run_id == run_id)).first()
        if row is None:
            return None
        return run_pb2.GetRunResponse(run=_record(row.record), pipeline_json=row.pipeline)

    def records(self, wanted: Wanted) -> list[SequenceTag]:
        """Runs, the latest first."""
        query = sa.select(RUNS.c.number, RUNS.c.record).order_by(RUNS.c.number.desc()).limit(wanted.most)
        if wanted.before is not None:
            query = query.where(RUNS.c.number < wanted.before)
        if wanted.states:
            query = query.where(RUNS.c.state.in_([int(state) for state in wanted.states]))
        if wanted.deployment:
            query = query.where(RUNS.c.deployment == wanted.deployment)
        with self._engine.connect() as connection:
            return [(row.number, _record(row.record)) for row in connection.execute(query)]

    def updates(self, run_id: str, from_sequence: int) -> list[update_pb2.Update]:
        """The next updates of a run from a number on, some at a time; none if there are no more, or no such run."""
        rows = (
            sa.select(UPDATES.c.content)
            .join(RUNS, RUNS.c.number == UPDATES.c.run)
            .where(RUNS.c.run_id == run_id, UPDATES.c.last >= from_sequence)
            .order_by(UPDATES.c.first)
            .limit(PAGE_ROWS)
        )
        with self._engine.connect() as connection:
            contents = [row.content for row in connection.execute(rows)]
            large = self._large(connection, {mark for content in contents for mark in hashes_in(content)})
        found = (update for content in contents for update in unpack(content, large))
        return [update for update in found if update.sequence >= from_sequence]

    def forget(self, days: float, runs: int) -> bool:
        """Deletes runs that ended more than this number of days ago, and all but this number of latest ones, some at a time.
        Returns whether there may be more of them. The age does not change if the clock is set forward after the store was
        opened."""
        kept = sa.select(RUNS.c.number).order_by(RUNS.c.number.desc()).offset(runs).limit(1)
        with self._writing() as connection:
            surplus = connection.execute(kept).scalar()
            old = RUNS.c.ended_at < self._now() - days * 86_400
            wanted = sa.or_(old, RUNS.c.number <= surplus) if surplus is not None else old
            query = sa.select(RUNS.c.number).where(RUNS.c.ended_at.is_not(None), wanted).order_by(RUNS.c.number)
            numbers = [row.number for row in connection.execute(query.limit(FORGET_AT_ONCE))]
            if not numbers:
                return False
            uses = sa.select(LARGE_VALUE_USES.c.hash).where(LARGE_VALUE_USES.c.run.in_(numbers)).distinct()
            hashes = [row.hash for row in connection.execute(uses)]
            for table in (UPDATES, LARGE_VALUE_USES):
                connection.execute(table.delete().where(table.c.run.in_(numbers)))
            connection.execute(RUNS.delete().where(RUNS.c.number.in_(numbers)))
            still = sa.exists().where(LARGE_VALUE_USES.c.hash == LARGE_VALUES.c.hash)
            for some in _chunks(hashes, 500):
                connection.execute(LARGE_VALUES.delete().where(LARGE_VALUES.c.hash.in_(some), ~still))
        return len(numbers) == FORGET_AT_ONCE

    def add_deployment(self, name: str, version: int, spec: bytes, created_at: float, folder: str) -> None:
        """Stores a version of a deployed pipeline."""
        row = {"name": name, "version": version, "spec": spec, "created_at": created_at, "folder": folder}
        with self._engine.begin() as connection:
            connection.execute(DEPLOYMENTS.insert(), row)

    def remove_deployment(self, name: str) -> None:
        """Deletes every version of one."""
        with self._engine.begin() as connection:
            connection.execute(DEPLOYMENTS.delete().where(DEPLOYMENTS.c.name == name))

    def forget_deployments(self, versions: Sequence[tuple[str, int]]) -> None:
        """Deletes versions, each by its name and its number."""
        chosen = sa.tuple_(DEPLOYMENTS.c.name, DEPLOYMENTS.c.version)
        with self._engine.begin() as connection:
            for some in _chunks(versions, 500):
                connection.execute(DEPLOYMENTS.delete().where(chosen.in_(some)))

    def deployments(self) -> list[tuple[str, int, bytes, float, str]]:
        """Every version: name, version, spec, when it was deployed, and the folder of its relative paths."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.select(DEPLOYMENTS))]

    def read(self, work: Callable[[sa.Connection], R]) -> R:
        """Returns what a function reads."""
        with self._engine.connect() as connection:
            return work(connection)

    def change(self, work: Callable[[sa.Connection], R]) -> R:
        """Calls a function that writes, in one transaction; returns its result. Raises OSError if the store is not ours."""
        with self._writing() as connection:
            return work(connection)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes. Raises OSError if the store is not ours any more."""
        if self._ownership is None or not self._ownership.holds():
            raise OSError(LOST_LOCK)
        with self._engine.begin() as connection:
            if self.location.file is not None:
                # Its reads must be current: otherwise SQLite takes its lock with the first write.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def _now(self) -> float:
        """Seconds since 1970, by the clock of when the store was opened."""
        wall, monotonic = self._opened_at
        return wall + time.monotonic() - monotonic

    def announce(self, address: str) -> None:
        """Stores the address at which this owner serves calls of clients for its runs."""
        with self._writing() as connection:
            connection.execute(OWNERS.delete().where(OWNERS.c.owner == self.owner))
            connection.execute(OWNERS.insert(), {"owner": self.owner, "address": address})

    def elsewhere(self, run_id: str) -> str | None:
        """The address of the other owner of an active run; empty if it serves no calls. None: there is no such run, it has ended,
        or it is one of ours."""
        query = (
            sa.select(OWNERS.c.address)
            .select_from(RUNS.outerjoin(OWNERS, OWNERS.c.owner == RUNS.c.owner))
            .where(RUNS.c.run_id == run_id, RUNS.c.state.not_in(TERMINAL), RUNS.c.owner != self.owner)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else row.address or ""

    def close(self) -> None:
        """Closes it."""
        if self._ownership is not None:
            self._ownership.release()
        self._engine.dispose()

    def _put(self, connection: sa.Connection, writings: Sequence[tuple[int, Writing]]) -> None:
        """Writes the records of new runs, and those that have changed, by the numbers of the runs."""
        rows: list[dict[str, Any]] = []
        for number, writing in writings:
            record, pipeline = writing.begun or (writing.record, "")
            record = writing.record or record
            if record is None:
                continue
            rows.append(
                {
                    "number": number,
                    "run_id": record.run_id,
                    "owner": self.owner,
                    "state": record.state,
                    "deployment": record.deployment,
                    "ended_at": seconds_of(record.ended_at) if record.HasField("ended_at") else None,
                    "record": _packed(record),
                    "pipeline": pipeline,
                }
            )
        bulk.insert(connection, RUNS, rows, key=("number",), changed=("state", "ended_at", "record"))

    def _add_large(self, connection: sa.Connection, large: Mapping[int, Mapping[bytes, bytes]]) -> None:
        """Writes the large values of runs, by number and hash. Other owners may write the same ones at the same moment, and all do
        so in the order of the hashes, so that none waits for another that waits for it."""
        values = {mark: content for by_hash in large.values() for mark, content in by_hash.items()}
        known: set[bytes] = set()
        for some in _chunks(sorted(values), 500):
            query = sa.select(LARGE_VALUES.c.hash).where(LARGE_VALUES.c.hash.in_(some)).order_by(LARGE_VALUES.c.hash)
            known.update(connection.execute(query.with_for_update(read=True, key_share=True)).scalars())
        for mark in sorted(values.keys() - known):
            # The update locks the row of another owner, which could delete it otherwise.
            row = {"hash": mark, "content": values[mark]}
            bulk.insert(connection, LARGE_VALUES, [row], key=("hash",), changed=("hash",))
        uses = [{"run": number, "hash": mark} for number in sorted(large) for mark in sorted(large[number])]
        bulk.insert(connection, LARGE_VALUE_USES, uses, key=("run", "hash"))

    def _large(self, connection: sa.Connection, hashes: set[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for some in _chunks(list(hashes), 500):
            rows = connection.execute(sa.select(LARGE_VALUES).where(LARGE_VALUES.c.hash.in_(some)))
            found.update({row.hash: row.content for row in rows})
        return found

    @property
    def keep_seconds(self) -> float | None:
        """Longest time between two calls of `keep`; None: it need not be called."""
        return self._ownership.keep_seconds if self._ownership is not None else None

    def keep(self) -> None:
        """Takes the locks again if the connection that held them is broken. Only the thread that writes may call it."""
        if self._ownership is not None:
            self._ownership.holds()

    def end_lost(self) -> bool:
        """Ends the runs of owners that have ended. Only the thread that writes may call it. Returns whether it may have to be
        called again after `GONE_SECONDS`: the locks of some owners are free since less time."""
        ownership = self._ownership
        assert ownership is not None, "a store that is only read ends no runs"
        going = sa.select(RUNS.c.number, RUNS.c.run_id, RUNS.c.owner).where(RUNS.c.state.not_in(TERMINAL))
        with ownership.opening(), self._writing() as connection:  # one owner at a time ends them
            rows = connection.execute(going.where(RUNS.c.owner != self.owner)).all()
            announced = connection.execute(sa.select(OWNERS.c.owner).where(OWNERS.c.owner != self.owner)).scalars()
            found = {owner: ownership.is_gone(owner) for owner in {*announced, *(row.owner for row in rows)}}
            gone = {owner for owner, is_gone in found.items() if is_gone}
            connection.execute(OWNERS.delete().where(OWNERS.c.owner.in_(gone)))
            for row in rows:
                if row.owner in gone:
                    message = f"the orchestrator that ran {row.run_id} ended or was killed: run it again; its outputs are kept"
                    fault = Fault(code=Code.UNAVAILABLE, reason="orchestrator-lost", message=message)
                    if self._fail(connection, row.number, fault):
                        log.warning("%s was interrupted: its orchestrator died", row.run_id)
        return None in found.values()

    def _fail(self, connection: sa.Connection, number: int, fault: Fault) -> bool:
        """Ends a run with a terminal update, with the next number. Returns False if it has ended meanwhile."""
        record = _record(connection.execute(sa.select(RUNS.c.record).where(RUNS.c.number == number)).scalar_one())
        if record.state in TERMINAL:
            return False
        last = connection.execute(sa.select(sa.func.max(UPDATES.c.last)).where(UPDATES.c.run == number)).scalar() or 0
        record.state, record.last_sequence = update_pb2.RUN_STATE_FAILED, last + 1
        record.error.CopyFrom(fault.to_proto())
        stamp(record.ended_at)
        record.output_count = self._outputs(connection, number)
        update = update_pb2.Update(sequence=last + 1, time=record.ended_at)
        update.job.run_id, update.job.state = record.run_id, record.state
        update.job.error.CopyFrom(record.error)
        self._put(connection, [(number, Writing(record=record))])
        bulk.insert(connection, UPDATES, [_updates_row(number, [update], pack([update]))])
        return True

    def _outputs(self, connection: sa.Connection, number: int) -> int:
        """Number of stored outputs of a run."""
        contents = connection.execute(sa.select(UPDATES.c.content).where(UPDATES.c.run == number)).scalars()
        return sum(map(count_outputs, contents))


def _updates_row(number: int, updates: Sequence[Entry], packed: Packed) -> dict[str, Any]:
    return {"run": number, "first": first_of(updates[0]), "last": last_of(updates[-1]), "content": packed.content}


def _record(content: bytes) -> run_pb2.RunRecord:
    record = run_pb2.RunRecord.FromString(content)
    record.stored = True
    return record


def _packed(record: run_pb2.RunRecord) -> bytes:
    return record.SerializeToString()


def _chunks(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]


def _unopened(location: Location, error: Exception) -> LanemeshError:
    if isinstance(error, ImportError):
        message = f"the store {location.shown} needs the driver of PostgreSQL: pip install 'lanemesh[postgres]'"
        return store_error("store-unusable", message)
    why = first_line(error)
    hint = "Give another one by --store; `lanemesh serve --store none` stores nothing."
    return store_error("store-unusable", f"the store {location.shown} cannot be used: {why}. {hint}", Code.UNAVAILABLE)
