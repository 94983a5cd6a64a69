"""The queue of writes to a store: updates of runs wait here, and one thread writes all waiting ones in one transaction.

There is no timer: the next batch is collected while the previous one is written. Readers of a run get an update when it is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from lanemesh._aio.signal import Signal
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, TextOutputs, last_of
from lanemesh.v1 import run_pb2
from sqlalchemy.exc import SQLAlchemyError

from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.records import document_of, record_of
from lanemesh_orchestrator.store.errors import first_line
from lanemesh_orchestrator.store.options import StoreOptions
from lanemesh_orchestrator.store.store import TERMINAL, RunStore, Writing

MAX_UPDATES = 10_000
"""Number of unwritten updates above which outputs wait."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of unwritten updates above which outputs wait: 64 MiB."""
MAX_BATCH = 2_000
"""Maximum number of updates in one transaction."""
MAX_BATCH_BYTES = 1024 * 1024
"""Bytes of updates above which a transaction gets no more: 1 MiB."""
PROBE_SECONDS = 2.0
"""Time between two attempts to write to a store that has failed."""
FORGET_SECONDS = 300.0
"""Time between two checks for runs to delete."""
CLOSE_SECONDS = 20.0
"""Time limit for writing the waiting updates at the end."""

log = logging.getLogger("lanemesh.store")

R = TypeVar("R")


class _Reported(NamedTuple):
    """One write of a run. A plain tuple, because there may be one per update."""

    run: RunWriter
    entry: Entry | None = None
    begun: tuple[run_pb2.RunRecord, str] | None = None
    record: run_pb2.RunRecord | None = None
    size: int = 0
    updates: int = 1
    """Their number; 1 also if there is none."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A function to call on the store between two batches."""

    work: Callable[[RunStore], Any]
    answer: asyncio.Future[Any]


_Work = _Reported | _Call | None
"""None: no more work follows."""


class RunWriter:
    """The sink for the updates of one run (`runs.log.Sink`)."""

    def __init__(self, journal: Journal, run: ActiveRun) -> None:
        self.run = run
        self.has_begun = False
        """The run is in the store."""
        self._is_announced = False
        """Whether its record was enqueued."""
        self._journal = journal

    @property
    def is_behind(self) -> bool:
        """So many updates are unwritten that outputs should wait."""
        return self._journal.is_behind

    @property
    def capacity(self) -> int:
        """The number of updates that may be added before outputs should wait."""
        return self._journal.capacity

    async def caught_up(self) -> None:
        """Waits until some of them are written."""
        await self._journal.written.wait()

    def add(self, entry: Entry, size: int) -> None:
        """Enqueues one or more updates of this number of bytes."""
        if isinstance(entry, TextOutputs):  # never the first entry: a run begins with an update of its state
            self._journal.put(_Reported(self, entry, size=size, updates=len(entry)))
            return
        is_latest_job = entry.WhichOneof("kind") == "job" and entry.sequence == self.run.log.last
        record = record_of(self.run) if is_latest_job or not self._is_announced else None
        begun = None
        if record is not None and not self._is_announced:
            self._is_announced = True
            begun = record, document_of(self.run)
        self._journal.put(_Reported(self, entry, begun=begun, record=record, size=size))

    def begin_again(self) -> None:
        """Enqueues the record with the next update again, unless the store has it."""
        self._is_announced = self.has_begun


@dataclass(slots=True)
class _Batch:
    """The writes of one transaction."""

    runs: dict[str, Writing] = field(default_factory=dict)
    writers: dict[str, RunWriter] = field(default_factory=dict)
    count: int = 0
    size: int = 0

    def add(self, write: _Reported) -> None:
        run_id = write.run.run.id
        writing = self.runs.setdefault(run_id, Writing())
        self.writers[run_id] = write.run
        writing.begun = write.begun or writing.begun
        writing.record = write.record or writing.record
        if write.entry is not None:
            writing.updates.append(write.entry)
        self.count += write.updates
        self.size += write.size


class Journal:
    """Writes runs to a store. It is created in the event loop of these runs."""

    def __init__(self, store: RunStore, options: StoreOptions) -> None:
        self.store = store
        self.failure: Fault | None = None
        """Why nothing can be written now."""
        self.written = Signal()
        """Fires when updates were written, or cannot be written any more."""
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._writers: dict[str, RunWriter] = {}
        """The runs whose end has not been written."""
        self._waiting = 0
        self._waiting_bytes = 0
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._closed = asyncio.Event()
        self._closing = False
        threading.Thread(target=self._work, name="lanemesh-store", daemon=True).start()

    @property
    def is_behind(self) -> bool:
        """So many updates are unwritten that outputs should wait."""
        return self._waiting >= MAX_UPDATES or self._waiting_bytes >= MAX_BYTES

    @property
    def capacity(self) -> int:
        """Number of updates that may be enqueued before outputs should wait."""
        return MAX_UPDATES - self._waiting

    def check(self) -> None:
        """Raises LanemeshError while nothing can be written."""
        if self.failure is not None:
            raise LanemeshError(self.failure)

    def begin(self, run: ActiveRun) -> RunWriter:
        """Begins to write a run. Its record is written with its first update, by the same statements as those of other runs that
        have begun meanwhile."""
        writer = self._writers[run.id] = RunWriter(self, run)
        return writer

    def put(self, write: _Reported) -> None:
        """Enqueues updates of a run."""
        self._waiting += write.updates
        self._waiting_bytes += write.size
        self._queue.put(write)

    async def call(self, work: Callable[[RunStore], R]) -> R:
        """Calls a function on the store, after all earlier writes. Raises LanemeshError if the store cannot be used, or is being
        closed."""
        self.check()
        if self._closing or self._closed.is_set():
            raise self._refusal()
        answer: asyncio.Future[R] = self._loop.create_future()
        self._queue.put(_Call(work, answer))
        return await answer

    async def close(self) -> None:
        """Writes the waiting updates, within 20 s, and closes the store."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._closed.wait()
        except TimeoutError:
            log.error("the store %s did not close within %g s", self.store.location.shown, CLOSE_SECONDS)

    # In the thread

    def _work(self) -> None:
        look_at = time.monotonic()
        carry: _Work = None
        try:
            while True:
                work = carry or self._next(look_at)
                carry = None
                if isinstance(work, _Reported):
                    batch, carry, ends = self._gather(work)
                    if not self._write(batch):
                        return
                    if ends:
                        return
                elif isinstance(work, _Call):
                    self._call(work)
                elif work is None:
                    return
                else:
                    look_at = time.monotonic() + (0 if self._forget() else FORGET_SECONDS)
        except Exception as error:  # of the orchestrator itself: stored runs must not wait for a thread that has ended
            message = f"the store {self.store.location.shown} has failed: {first_line(error)}. Restart the orchestrator"
            log.exception("%s", message)
            self._call_in_loop(self._give_up, Fault(code=Code.INTERNAL, reason="store-failed", message=message))
        finally:
            self.store.close()
            self._call_in_loop(self._end)

    def _next(self, look_at: float) -> _Work | bool:
        """The next work; True when a check for runs to delete is due. Meanwhile the store keeps its locks."""
        while True:
            left, keep = max(0.0, look_at - time.monotonic()), self.store.keep_seconds
            try:
                return self._queue.get(timeout=left if keep is None else min(left, keep))
            except queue.Empty:
                if keep is None or left <= keep:
                    return True
            self.store.keep()

    def _gather(self, first: _Reported) -> tuple[_Batch, _Work, bool]:
        """All waiting writes, up to a bound; the next work, if it is of another kind; whether that is the end."""
        batch = _Batch()
        batch.add(first)
        while batch.count < MAX_BATCH and batch.size < MAX_BATCH_BYTES:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(work, _Reported):
                return batch, work, work is None
            batch.add(work)
        return batch, None, False

    def _write(self, batch: _Batch) -> bool:
        """Writes a batch; if that fails, retries until the store can be written. Returns False if it was closed meanwhile."""
        try:
            self.store.write(batch.runs)
        except Exception as error:
            return self._failed(error)
        self._call_in_loop(self._wrote, batch)
        return True

    def _failed(self, error: Exception) -> bool:
        message = (
            f"the store {self.store.location.shown} cannot be written: {first_line(error)}. Runs that are stored fail, and no new "
            "ones start, until it can: free some space, or check the database"
        )
        fault = Fault(code=Code.UNAVAILABLE, reason="store-failed", message=message)
        log.error("%s", message)
        if not isinstance(error, (SQLAlchemyError, OSError)):
            log.error("the store", exc_info=error)
        self._call_in_loop(self._give_up, fault)
        while True:
            with contextlib.suppress(queue.Empty):
                work = self._queue.get(timeout=PROBE_SECONDS)
                if work is None:
                    return False
                if isinstance(work, _Call):
                    self._call_in_loop(_refuse, work.answer, LanemeshError(fault))
                continue  # the updates are in the logs of the runs, too
            with contextlib.suppress(Exception):
                self.store.probe()
                break
        log.warning("the store %s can be written again", self.store.location.shown)
        self._call_in_loop(self._recovered)
        return True

    def _call(self, call: _Call) -> None:
        try:
            result = call.work(self.store)
        except (SQLAlchemyError, OSError) as error:
            message = f"the store {self.store.location.shown} cannot be used: {first_line(error)}"
            fault = Fault(code=Code.UNAVAILABLE, reason="store-failed", message=message)
            self._call_in_loop(_refuse, call.answer, LanemeshError(fault))
        except Exception as error:
            self._call_in_loop(_refuse, call.answer, error)
        else:
            self._call_in_loop(_answer, call.answer, result)

    def _forget(self) -> bool:
        """Deletes some runs. Returns whether there may be more."""
        try:
            return self.store.forget(self._options.keep_days, self._options.keep_runs)
        except (SQLAlchemyError, OSError) as error:
            log.warning("old runs cannot be deleted now: %s", first_line(error))
            return False

    def _call_in_loop(self, function: Callable[..., Any], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: there is no waiter any more
            self._loop.call_soon_threadsafe(function, *arguments)

    # In the event loop again

    def _end(self) -> None:
        """The thread has ended. If it has failed, there may be calls that it has not answered."""
        self._closed.set()
        while not self._queue.empty():
            work = self._queue.get_nowait()
            if isinstance(work, _Call):
                _refuse(work.answer, self._refusal())

    def _refusal(self) -> LanemeshError:
        """The error of calls that nothing answers any more."""
        if self.failure is not None:
            return LanemeshError(self.failure)
        message = f"the store {self.store.location.shown} is closed, because the orchestrator stops"
        return LanemeshError(Fault(code=Code.UNAVAILABLE, reason="stopping", message=message))

    def _wrote(self, batch: _Batch) -> None:
        self._waiting -= batch.count
        self._waiting_bytes -= batch.size
        for run_id, writing in batch.runs.items():
            writer = batch.writers[run_id]
            writer.has_begun = True
            if writing.updates:
                writer.run.log.written(last_of(writing.updates[-1]))
            if writing.record is not None and writing.record.state in TERMINAL:
                self._writers.pop(run_id, None)
        self.written.fire()

    def _give_up(self, fault: Fault) -> None:
        """The store cannot be written: stored runs continue without it, and fail."""
        self.failure = fault
        self._waiting = self._waiting_bytes = 0
        for writer in self._writers.values():
            writer.run.log.unstored()
            writer.run.fail(fault)
        self.written.fire()

    def _recovered(self) -> None:
        """The unwritten updates are written now, as clients have received them."""
        self.failure = None
        for writer in self._writers.values():
            writer.begin_again()
            writer.run.log.store_again(writer)


def _answer(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def _refuse(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
