"""Records of runs, which `GetRun` and `ListRuns` return."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import run_pb2, update_pb2

from lanemesh_orchestrator.pipeline.graph import TRACE_LEVELS
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.batches import Batch

PAGE_SIZE = 100
"""Default number of runs on a page."""
MAX_PAGE_SIZE = 1_000
"""Most runs on a page."""
MAX_TOKEN = 18
"""Longest page token; numbers of runs have 64 bits in a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The filter of a list of runs: a validated `ListRunsRequest`."""

    most: int = PAGE_SIZE
    """Most runs in the list."""
    before: int | None = None
    """Only runs with a smaller number; None: from the latest on."""
    states: Collection[update_pb2.RunState.ValueType] = ()
    """Only runs in one of these states; empty: in any state."""
    deployment: str = ""
    """Only runs of this deployment; empty: all runs."""

    def admits(self, record: run_pb2.RunRecord) -> bool:
        """Whether a run passes the filter, its number aside."""
        return (not self.states or record.state in self.states) and self.deployment in ("", record.deployment)


SequenceTag = tuple[int, run_pb2.RunRecord]
"""A record and the number that orders runs; later runs have larger numbers."""


class History(Protocol):
    """The records and updates of runs, including ended ones."""

    async def record(self, run_id: str) -> run_pb2.GetRunResponse:
        """The record of one run. Raises LanemeshError if the run is not known."""

    async def records(self, wanted: Wanted) -> Sequence[SequenceTag]:
        """The records of runs, the latest first."""

    def batches(self, run_id: str, from_sequence: int) -> AsyncGenerator[Batch, None]:
        """The updates of a run from a sequence number to the terminal one, in batches; a gap where updates are no longer kept.
        Raises LanemeshError if the run is not known."""

    async def elsewhere(self, run_id: str) -> str | None:
        """The address of the other orchestrator that runs an active run; empty if it serves no calls. None: it does not run
        elsewhere."""

    async def end_lost(self) -> None:
        """Ends the runs of other orchestrators that have ended."""


class MemoryHistory:
    """The runs in the memory of an orchestrator: the active ones, and the latest ended ones."""

    def __init__(self, runs: Callable[[], Iterable[ActiveRun]], get: Callable[[str], ActiveRun]) -> None:
        """`runs` returns all runs; `get` returns one by its id, or raises LanemeshError."""
        self._runs = runs
        self._get = get

    async def record(self, run_id: str) -> run_pb2.GetRunResponse:
        """The record of one run."""
        run = self._get(run_id)
        return run_pb2.GetRunResponse(run=record_of(run), pipeline_json=document_of(run))

    async def records(self, wanted: Wanted) -> Sequence[SequenceTag]:
        """The records of runs, the latest first."""
        found: list[SequenceTag] = []
        for run in sorted(self._runs(), key=lambda run: run.number, reverse=True):
            if len(found) == wanted.most:
                break
            if wanted.before is None or run.number < wanted.before:
                record = record_of(run)
                if wanted.admits(record):
                    found.append((run.number, record))
        return found

    async def batches(self, run_id: str, from_sequence: int) -> AsyncGenerator[Batch, None]:
        """The updates of a run. The readers of a run without an owner pace its outputs."""
        run = self._get(run_id)
        async with aclosing(run.log.batches(from_sequence, paces=not run.owned)) as batches:
            async for batch in batches:
                yield batch

    async def elsewhere(self, run_id: str) -> str | None:
        """All runs are here."""
        return None

    async def end_lost(self) -> None:
        """All runs are here."""


def record_of(run: ActiveRun) -> run_pb2.RunRecord:
    """The record of a run in memory."""
    record = run_pb2.RunRecord(
        run_id=run.id,
        name=run.graph.name,
        state=run.state,
        reason=run.reason,
        deployment=run.deployment,
        deployment_version=run.deployment_version,
        detached=not run.owned,
        trace=TRACE_LEVELS[run.graph.trace],
        last_sequence=run.log.last,
        output_count=run.output_count,
        stored=run.log.sink is not None,
    )
    record.created_at.FromNanoseconds(run.created_at)
    if run.started_at:
        record.started_at.FromNanoseconds(run.started_at)
    if run.ended_at:
        record.ended_at.FromNanoseconds(run.ended_at)
    if run.error is not None:
        record.error.CopyFrom(run.error.to_proto())
    record.placements.extend(run.placements)
    record.approvals.extend(run.approvals)
    return record


def document_of(run: ActiveRun) -> str:
    """The document of a run without its literal secrets, for records and stores."""
    return run.graph.text


def wanted_by(request: run_pb2.ListRunsRequest) -> Wanted:
    """Validates a request. Raises LanemeshError if its page token is invalid."""
    token = request.page_token
    if token and not (token.isascii() and token.isdecimal() and len(token) <= MAX_TOKEN):
        message = f'the page token "{token:.40}" is invalid: use the next_page_token of the previous page, or omit it'
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-page-token", message=message))
    return Wanted(
        most=min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE),
        before=int(token) if token else None,
        states=frozenset(request.states),
        deployment=request.deployment,
    )


async def page(history: History, request: run_pb2.ListRunsRequest) -> run_pb2.ListRunsResponse:
    """One page of runs. Raises LanemeshError if the page token of the request is invalid."""
    wanted = wanted_by(request)
    found = await history.records(wanted)
    token = str(found[-1][0]) if len(found) == wanted.most else ""
    for _, record in found:
        del (
            record.placements[:],
            record.approvals[:],
        )  # a page of large pipelines would exceed the size limit of a message
    return run_pb2.ListRunsResponse(runs=[record for _, record in found], next_page_token=token)
