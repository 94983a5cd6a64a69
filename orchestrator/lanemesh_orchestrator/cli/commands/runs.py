"""`lanemesh runs` and `lanemesh cancel`: the runs that a mesh knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from lanemesh.faults import Code, LanemeshError
from lanemesh.v1 import run_pb2, update_pb2

from lanemesh_orchestrator.cli.commands.nodes import print_rich
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.json_updates import error_json

if TYPE_CHECKING:
    from lanemesh.client.runs import RunHost

LOOKED_THROUGH = 1_000
"""Number of latest runs that are searched for the beginning of an id."""
CANCEL_SECONDS = 15.0
"""How long the end of a cancelled run is waited for."""
TERMINAL = (update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED, update_pb2.RUN_STATE_CANCELLED)

_T = TypeVar("_T")


def runs(host: HostOptions, *, states: Sequence[str], deployment: str, limit: int, as_json: bool) -> ExitCode:
    """Prints the latest runs."""
    wanted = [update_pb2.RunState.Value(f"RUN_STATE_{state.upper()}") for state in states]
    found = on(host, lambda mesh: mesh.runs(limit=limit, states=wanted, deployment=deployment))
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

    return on(host, work)


def on(options: HostOptions, work: Callable[[RunHost], Awaitable[_T]]) -> _T:
    """Does something with a mesh. Ctrl-C ends it."""

    async def ask() -> _T:
        with Interrupts():
            async with open_host(options) as host:
                return await work(host)

    try:
        return asyncio.run(ask())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def find(mesh: RunHost, given: str) -> run_pb2.RunRecord:
    """The run of an id, of the beginning of one, or the "last". Raises `CommandError` if there is none, or are several."""
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
        return (await mesh.record(given)).run  # an older one; or an error that reports it
    several = ", ".join(record.run_id for record in found[:5])
    raise CommandError(
        f"{len(found)} runs begin with {given}: {several}{' ...' if len(found) > 5 else ''}. Give more characters."
    )


def is_missing(error: Exception) -> bool:
    """Whether an error concerns the name of one run alone, so that the other runs can be found."""
    return isinstance(error, CommandError) or (
        isinstance(error, LanemeshError) and error.fault.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT)
    )


def record_json(record: run_pb2.RunRecord) -> dict[str, Any]:
    """A record as JSON: the fields of `lanemesh.v1.RunRecord`, with the state in a word, and the error as in `--json` updates."""
    flat: dict[str, Any] = {"run_id": record.run_id, "name": record.name, "state": state(record)}
    for field in ("created_at", "started_at", "ended_at"):
        if record.HasField(field):
            flat[field] = getattr(record, field).ToJsonString()
    if record.HasField("error"):
        flat["error"] = error_json(record.error)
    said = {"reason": record.reason, "deployment": record.deployment, "deployment_version": record.deployment_version}
    flat |= {name: value for name, value in said.items() if value}
    flat |= {"detached": record.detached, "stored": record.stored}
    return flat | {"last_sequence": record.last_sequence, "output_count": record.output_count}


def state(record: run_pb2.RunRecord) -> str:
    """The state in a word."""
    return update_pb2.RunState.Name(record.state).removeprefix("RUN_STATE_").lower()


def ago(seconds: float) -> str:
    """How long something was ago, in its largest unit: `2 min ago`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds / size)} {unit} ago"
    return f"{int(seconds)} s ago" if seconds >= 1 else "now"


def lasted(record: run_pb2.RunRecord, now: float) -> str:
    """How long a run has taken, or has taken so far."""
    end = _seconds(record.ended_at) if record.HasField("ended_at") else now
    seconds = max(0.0, end - _seconds(record.created_at))
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{int(seconds)} s" if seconds < 600 else f"{int(seconds / 60)} min"


def why(record: run_pb2.RunRecord) -> str:
    """Why a run did not complete, on one line."""
    reason = record.error.message if record.HasField("error") else record.reason
    return " ".join(reason.split())


def _begins(run_id: str, given: str) -> bool:
    return run_id.startswith(given) or run_id.removeprefix("run-").startswith(given)


def _seconds(stamp: Timestamp) -> float:
    return stamp.ToNanoseconds() / 1e9


def _print_table(found: Sequence[run_pb2.RunRecord]) -> None:
    from rich.table import Table
    from rich.text import Text

    now = time.time()
    table = Table("run", "pipeline", "state", "when", "took", "outputs", "", box=None, pad_edge=False, expand=True)
    for column in table.columns[:6]:
        column.no_wrap = True
    table.columns[6].ratio, table.columns[6].no_wrap, table.columns[6].overflow = 1, True, "ellipsis"
    for one in found:
        name = f"@{one.deployment} {one.deployment_version}" if one.deployment else one.name
        age = ago(now - _seconds(one.created_at))
        cells = (one.run_id, name, state(one), age, lasted(one, now), f"{one.output_count:,}", why(one))
        table.add_row(*map(Text, cells))
    print_rich(table)


async def _cancel(mesh: RunHost, record: run_pb2.RunRecord, reason: str) -> str:
    run = mesh.attach(record.run_id, max(1, record.last_sequence))
    if record.state in TERMINAL:
        return f"{record.run_id} has ended already: {state(record)}"
    await run.cancel(reason)
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            async for update in run.messages():
                if update.job.state in TERMINAL:
                    record.state = update.job.state
    except TimeoutError:
        return f"{record.run_id} has not ended within {CANCEL_SECONDS:g} s after its cancellation; `lanemesh watch` shows its state"
    return f"{record.run_id} {state(record)}"
