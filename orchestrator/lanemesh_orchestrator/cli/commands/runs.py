"""`lanemesh runs` and `lanemesh cancel`: the runs that a mesh knows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from lanemesh.client.updates import JobUpdate
from lanemesh.faults import Code, LanemeshError
from lanemesh.times import age, span

from lanemesh_orchestrator.cli.commands.nodes import print_rich
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.visible import cells
from lanemesh_orchestrator.record_json import record_json

if TYPE_CHECKING:
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost

LOOKED_THROUGH = 1_000
"""Number of latest runs that are searched for the beginning of an id."""
CANCEL_SECONDS = 15.0
"""How long the end of a cancelled run is waited for."""

_WHOLE_ID = re.compile("(?:run-)?([0-9a-f]{12})")
_T = TypeVar("_T")


def runs(host: HostOptions, *, states: Sequence[str], deployment: str, limit: int, as_json: bool) -> ExitCode:
    """Prints the latest runs."""
    found = run_on_mesh(host, lambda mesh: mesh.runs(limit=limit, states=states, deployment=deployment))
    if as_json:
        print(json_text([record_json(record) for record in found], indent=2))
    elif found:
        _print_table(found)
    else:
        print("There are no such runs." if states or deployment else "There are no runs yet.")
    return ExitCode.COMPLETED


def cancel(given: Sequence[str], host: HostOptions, reason: str) -> ExitCode:
    """Cancels runs, and prints how each has ended."""

    async def work(mesh: RunHost) -> ExitCode:
        code = ExitCode.COMPLETED
        cancelled: set[str] = set()
        for one in given:
            try:
                run = await find(mesh, one)
            except (CommandError, LanemeshError) as error:
                if len(given) == 1 or not is_missing(error):
                    raise
                code = report(error)
                continue
            if run.run_id not in cancelled:
                cancelled.add(run.run_id)
                print(await _cancel(mesh, run, reason))
        return code

    return run_on_mesh(host, work)


def run_on_mesh(options: HostOptions, work: Callable[[RunHost], Awaitable[_T]]) -> _T:
    """Connects to a mesh, and returns what `work` returns for it. Ctrl-C cancels the work and raises KeyboardInterrupt."""

    async def ask() -> _T:
        with Interrupts():
            async with open_host(options) as host:
                return await work(host)

    try:
        return asyncio.run(ask())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def find(mesh: RunHost, given: str) -> RunRecord:
    """The run with an id or a prefix of it, or the "last". Only a whole id needs no list of runs, which a token may not permit.

    Raises:
        CommandError: several runs match, or there are none.
        LanemeshError: no run matches.
    """
    if whole := _WHOLE_ID.fullmatch(given):
        return await mesh.record(f"run-{whole[1]}")
    if given == "last":
        latest = await mesh.runs(limit=1)
        if not latest:
            raise CommandError("There are no runs yet.")
        return latest[0]
    found = [record for record in await mesh.runs(limit=LOOKED_THROUGH) if _begins(record.run_id, given)]
    exact = [record for record in found if record.run_id == given]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        return await mesh.record(given)  # an older one; or an error that reports it
    several = ", ".join(record.run_id for record in found[:5])
    raise CommandError(
        f"{len(found)} runs begin with {given}: {several}{' ...' if len(found) > 5 else ''}. Give more characters."
    )


def is_missing(error: Exception) -> bool:
    """Whether an error concerns the name of one run alone, so that the other runs can be found."""
    return isinstance(error, CommandError) or (
        isinstance(error, LanemeshError) and error.fault.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT)
    )


def ago(seconds: float) -> str:
    """How long something was ago, in its largest unit: `2 min ago`."""
    return f"{age(seconds)} ago" if seconds >= 1 else "now"


def lasted(record: RunRecord, now: datetime) -> str:
    """How long a run has taken, or has taken so far."""
    return span(((record.ended_at or now) - record.created_at).total_seconds())


def why(record: RunRecord) -> str:
    """Why a run did not complete, on one line."""
    reason = record.error.message if record.error is not None else record.reason
    return " ".join(reason.split())


def _begins(run_id: str, given: str) -> bool:
    return run_id.startswith(given) or run_id.removeprefix("run-").startswith(given)


def _print_table(found: Sequence[RunRecord]) -> None:
    from rich.table import Table

    now = datetime.now(UTC)
    table = Table("run", "pipeline", "state", "when", "took", "outputs", "", box=None, pad_edge=False, expand=True)
    for column in table.columns[:6]:
        column.no_wrap = True
    table.columns[6].ratio, table.columns[6].no_wrap, table.columns[6].overflow = 1, True, "ellipsis"
    for one in found:
        name = f"@{one.deployment} {one.deployment_version}" if one.deployment else one.name
        since = ago((now - one.created_at).total_seconds())
        texts = (one.run_id, name, one.state, since, lasted(one, now), f"{one.output_count:,}", why(one))
        table.add_row(*cells(texts, fold=False))
    print_rich(table)


async def _cancel(mesh: RunHost, record: RunRecord, reason: str) -> str:
    run = mesh.attach(record.run_id, max(1, record.last_sequence))
    if record.state.is_terminal:
        return f"{record.run_id} has ended already: {record.state}"
    await run.cancel(reason)
    ended = record.state
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            async for update in run.updates():
                if isinstance(update, JobUpdate):
                    ended = update.state
    except TimeoutError:
        return f"{record.run_id} has not ended within {CANCEL_SECONDS:g} s after its cancellation; `lanemesh watch` shows its state"
    return f"{record.run_id} {ended}"
