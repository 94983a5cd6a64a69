"""Queries of runs, from the store and from the memory of its orchestrator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress

from lanemesh._aio.threads import Threads
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import last_of
from lanemesh.v1 import run_pb2, update_pb2

from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.batches import Batch, in_batches
from lanemesh_orchestrator.runs.records import SequenceTag, Wanted, document_of, record_of
from lanemesh_orchestrator.store import ownership
from lanemesh_orchestrator.store.store import TERMINAL, RunStore

_READERS = Threads(limit=32)
"""Threads that read from stores: at most 32 concurrent calls for all clients."""

LEAST_POLL_SECONDS, MOST_POLL_SECONDS = 0.1, 1.0
"""Time between two reads of the updates of a run that another owner runs. It doubles while there are none."""
LOST_SECONDS = 3.0
"""Time between two checks whether the owner of a run that is watched has ended."""


class StoredHistory:
    """The runs of a store; active ones are read from memory. Those of other owners of the store are read as they are stored."""

    def __init__(
        self,
        store: RunStore,
        find: Callable[[str], ActiveRun | None],
        end_lost: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """`find` returns a run in memory. `end_lost` ends the runs of owners that have ended, and returns whether some may
        have ended that it finds later; None: the store is only read, and the updates of an active run end with those that it has
        now."""
        self._store = store
        self._find = find
        self._end_lost = end_lost
        self._looked_at = 0.0

    async def record(self, run_id: str) -> run_pb2.GetRunResponse:
        """One run. Raises LanemeshError if it is not known."""
        found = await _READERS.call(self._store.record, run_id)
        if found is not None:
            found.run.CopyFrom(self._latest(found.run))
            return found
        run = self._find(run_id)  # it has just started, or it is not stored because the store failed
        if run is None:
            raise _unknown(run_id)
        return run_pb2.GetRunResponse(run=record_of(run), pipeline_json=document_of(run))

    async def records(self, wanted: Wanted) -> Sequence[SequenceTag]:
        """Runs, the latest first."""
        found = await _READERS.call(self._store.records, wanted)
        return [(number, self._latest(record)) for number, record in found]

    async def batches(self, run_id: str, from_sequence: int) -> AsyncGenerator[Batch, None]:
        """The updates of a run from a number on: earlier ones from the store, later ones from memory."""
        run = self._find(run_id)
        if run is None:
            found = await _READERS.call(self._store.record, run_id)
            if found is None:
                raise _unknown(run_id)
            is_active = found.run.state not in TERMINAL and self._end_lost is not None
            source = self._followed(run_id, from_sequence) if is_active else self._stored(run_id, from_sequence, None)
            async with aclosing(source) as stored:
                async for batch in stored:
                    yield batch
            return
        async with aclosing(run.log.batches(from_sequence, paces=not run.owned)) as live:
            async for upcoming in live:
                if not isinstance(upcoming, run_pb2.Gap):
                    yield upcoming
                    continue
                async with aclosing(self._stored(run_id, upcoming.from_sequence, upcoming.to_sequence)) as stored:
                    async for batch in stored:
                        yield batch

    async def elsewhere(self, run_id: str) -> str | None:
        """The address of the other owner of an active run."""
        return await _READERS.call(self._store.elsewhere, run_id)

    async def end_lost(self) -> None:
        """Ends the runs of owners that have ended."""
        if self._end_lost is not None and await self._end_lost():
            await asyncio.sleep(ownership.GONE_SECONDS)
            await self._end_lost()

    async def _followed(self, run_id: str, first: int) -> AsyncGenerator[Batch, None]:
        """Updates of a run of another owner, as they are stored, to the terminal one."""
        loop = asyncio.get_running_loop()
        wanted, pause, is_over = max(1, first), LEAST_POLL_SECONDS, False
        while True:
            before = wanted
            async with aclosing(self._stored(run_id, wanted, None)) as stored:
                async for batch in stored:
                    wanted = 1 + (batch.to_sequence if isinstance(batch, run_pb2.Gap) else last_of(batch[-1]))
                    yield batch
            if is_over:
                return
            found = await _READERS.call(self._store.record, run_id)
            is_over = found is None or found.run.state in TERMINAL  # then the rest of its updates is read
            if is_over:
                continue
            if loop.time() > self._looked_at + LOST_SECONDS:
                self._looked_at = loop.time()
                if self._end_lost is not None:
                    with suppress(LanemeshError):  # the store cannot be written now, but may be read
                        await self._end_lost()
            pause = LEAST_POLL_SECONDS if wanted > before else min(2 * pause, MOST_POLL_SECONDS)
            await asyncio.sleep(pause)

    async def _stored(self, run_id: str, first: int, last: int | None) -> AsyncGenerator[Batch, None]:
        """Updates of the store, to a number or to the end; missing ones as a gap."""
        wanted = max(1, first)
        while last is None or wanted <= last:
            page = await _READERS.call(self._store.updates, run_id, wanted)
            if not page:
                if last is not None:
                    yield run_pb2.Gap(from_sequence=wanted, to_sequence=last)
                return
            for batch in _with_gaps(page if last is None else [one for one in page if one.sequence <= last], wanted):
                yield batch
            wanted = page[-1].sequence + 1

    def _latest(self, record: run_pb2.RunRecord) -> run_pb2.RunRecord:
        """The record of a run; from memory while it is active."""
        run = self._find(record.run_id) if record.state not in TERMINAL else None
        if run is None:
            return record
        return record_of(run)


def _with_gaps(updates: Sequence[update_pb2.Update], wanted: int) -> Iterator[Batch]:
    """Batches of updates from the number `wanted` on, and a gap in place of those that are missing between them."""
    consecutive: list[update_pb2.Update] = []
    for update in updates:
        if update.sequence > wanted:
            yield from in_batches(consecutive)
            consecutive = []
            yield run_pb2.Gap(from_sequence=wanted, to_sequence=update.sequence - 1)
        consecutive.append(update)
        wanted = update.sequence + 1
    yield from in_batches(consecutive)


def _unknown(run_id: str) -> LanemeshError:
    message = f'there is no run "{run_id}" here: the store may have deleted it, as it does with old runs'
    return LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-run", message=message))
