"""The records of an orchestrator about its runs, and their paged listing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from lanemesh.client.specs import wire_text
from lanemesh.client.update_conversion import approval_from_wire, placement_from_wire
from lanemesh.client.updates import ApprovalUpdate, Placement, RunState
from lanemesh.faults import Fault
from lanemesh.rendering import rendered
from lanemesh.v1 import run_pb2, update_pb2

PAGE = 500
"""Number of runs in one request."""
MAX_PAGE = 1_000
"""Most runs on a page."""

ListRuns = Callable[[run_pb2.ListRunsRequest], Awaitable[run_pb2.ListRunsResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """An orchestrator's record of a running or ended run. Times are aware datetimes in UTC."""

    run_id: str
    """Its id, for attaching, recording and cancelling."""
    state: RunState
    """Its state; it compares equal to its name: `record.state == "failed"`."""
    created_at: datetime
    """The time of the request."""
    name: str = ""
    """Name of its pipeline, or of the file of it; empty if it has none."""
    started_at: datetime | None = None
    """The time when its nodes started; None if they have not."""
    ended_at: datetime | None = None
    """The time of its end; None if it has not ended."""
    error: Fault | None = None
    """The first primary cause, if it failed."""
    reason: str = ""
    """Why it was cancelled, if it was."""
    deployment: str = ""
    """The deployed pipeline that it runs; empty if it runs none."""
    deployment_version: int = 0
    """The version of the deployed pipeline, from 1; 0 if it runs none."""
    detached: bool = False
    """It was started by `start`, and continues without its caller."""
    trace: str = "none"
    """The trace level of its items: "none", "metadata", "summary" or "full"."""
    last_sequence: int = 0
    """Number of its latest update; updates are numbered from 1."""
    output_count: int = 0
    """Number of items that have reached a target so far."""
    stored: bool = False
    """Its updates and outputs are kept in the store; otherwise in memory, for a limited time."""
    placements: tuple[Placement, ...] = ()
    """The placements of its components, now or at its end, with earlier ones on lost node servers. `record()` has them; they are
    empty in the list of `runs()`."""
    approvals: tuple[ApprovalUpdate, ...] = ()
    """The approvals for which its components wait now, the oldest first. `record()` has them; they are empty in the list of
    `runs()`. Their sequence is 0, and their time that of the record."""
    pipeline_json: str = ""
    """Its pipeline: the document as JSON text, as it was given, without the values of secret settings. `record()` has it; it is
    empty in the list of `runs()`."""

    @property
    def duration(self) -> float | None:
        """Seconds from the request to the end; None if the run has not ended."""
        return None if self.ended_at is None else (self.ended_at - self.created_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One page of the list of runs, the latest first."""

    runs: tuple[RunRecord, ...]
    """The records of the page."""
    next_page: str = ""
    """The `page` of the next call; empty: there is no further page."""


def decode_run(record: run_pb2.RunRecord, pipeline_json: str = "") -> RunRecord:
    """The value of a record, with the document of the run if it is known. Raises ValueError for an unknown state."""
    return RunRecord(
        run_id=record.run_id,
        state=RunState.from_wire(record.state),
        created_at=record.created_at.ToDatetime(UTC),
        name=record.name,
        started_at=record.started_at.ToDatetime(UTC) if record.HasField("started_at") else None,
        ended_at=record.ended_at.ToDatetime(UTC) if record.HasField("ended_at") else None,
        error=Fault.from_proto(record.error) if record.HasField("error") else None,
        reason=record.reason,
        deployment=record.deployment,
        deployment_version=record.deployment_version,
        detached=record.detached,
        trace=update_pb2.TraceLevel.Name(record.trace or update_pb2.TRACE_LEVEL_NONE)
        .removeprefix("TRACE_LEVEL_")
        .lower(),
        last_sequence=record.last_sequence,
        output_count=record.output_count,
        stored=record.stored,
        placements=tuple(map(placement_from_wire, record.placements)),
        approvals=tuple(approval_from_wire(one, sequence=0, time=datetime.now(UTC)) for one in record.approvals),
        pipeline_json=pipeline_json,
    )


async def list_runs(call: ListRuns, limit: int, states: Iterable[RunState | str], deployment: str) -> list[RunRecord]:
    """The latest runs, at most `limit` of them, with as many calls as necessary.

    Raises:
        TypeError: the states are one text.
        ValueError: one of the states is unknown.
        LanemeshError: the name of the deployed pipeline is not valid Unicode, or a call has failed.
    """
    found: list[RunRecord] = []
    request = run_pb2.ListRunsRequest(
        states=_wire_states(states), deployment=wire_text(deployment, "the name of a deployed pipeline")
    )
    while len(found) < limit:
        request.page_size = min(PAGE, limit - len(found))
        response = await call(request)
        found.extend(map(decode_run, response.runs))
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    return found


async def list_page(
    call: ListRuns, limit: int, states: Iterable[RunState | str], deployment: str, page: str
) -> RunPage:
    """One page of the list of runs. Raises ValueError if `limit` is not from 1 to 1,000; otherwise as `list_runs`, and
    LanemeshError for a wrong `page` ("bad-page-token")."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"limit is from 1 to {MAX_PAGE:,}, not {limit}")
    response = await call(
        run_pb2.ListRunsRequest(
            page_size=limit,
            page_token=wire_text(page, "a page token"),
            states=_wire_states(states),
            deployment=wire_text(deployment, "the name of a deployed pipeline"),
        )
    )
    return RunPage(runs=tuple(map(decode_run, response.runs)), next_page=response.next_page_token)


def _wire_states(states: Iterable[RunState | str]) -> list[update_pb2.RunState.ValueType]:
    if isinstance(states, str):
        raise TypeError(
            f"states are several, such as a list; give a single one as states=[{rendered(str(states), 40)}]"
        )
    given = list(states)
    if wrong := next((state for state in given if state not in set(RunState)), None):
        raise ValueError(f"a state of a run is one of {', '.join(RunState)}, not {rendered(wrong, 40)}")
    return [RunState(state).wire for state in given]
