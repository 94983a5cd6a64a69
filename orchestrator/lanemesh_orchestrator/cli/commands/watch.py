"""`lanemesh watch`: follows a run that continues without this command."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from contextlib import aclosing
from dataclasses import dataclass, field

from lanemesh.client.records import RunRecord
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import Fault
from lanemesh.times import seconds_of
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.commands.runs import find
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, RunFailed
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import approval_hint, approval_line, delivered
from lanemesh_orchestrator.cli.output.run_view import JsonView, TextView, View
from lanemesh_orchestrator.cli.output.stats import RunStats
from lanemesh_orchestrator.cli.output.streams import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The options of `watch`."""

    run: str
    """The run's id, the beginning of it, or "last"."""
    host: HostOptions = field(default_factory=HostOptions)
    """`--mesh`."""
    first: int = 1
    """`--from`."""
    json: bool = False
    """`--json`."""
    log_level: int = logging.WARNING
    """The lowest level of shown log lines of nodes."""


class UpdateClock:
    """The time of the latest update: a run that has ended long ago took no longer for that."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now


def watch(options: WatchOptions) -> ExitCode:
    """Shows a run to its end, and returns the exit code that `run` would have had. Ctrl-C leaves the run alone."""
    return asyncio.run(_main(options))


async def _main(options: WatchOptions) -> ExitCode:
    with Interrupts() as interrupts:
        try:
            async with open_host(options.host) as host:
                record = await find(host, options.run)
                run = host.attach(record.run_id, options.first)
                clock, streams = UpdateClock(), Streams(on_closed=lambda: None)
                stats, job = RunStats(clock), update_pb2.JobUpdate()
                view = _view(options, streams, stats, record)
                try:
                    async with aclosing(wire_updates(run)) as updates:
                        async for update in updates:
                            clock.now = seconds_of(update.time)
                            stats.take(update)
                            view.show(update)
                            if update.WhichOneof("kind") == "approval":
                                _show_approval(update.approval, view, record.run_id, options.host.mesh)
                            if update.WhichOneof("kind") == "job":
                                job = update.job
                            if streams.closed:
                                return ExitCode.COMPLETED
                            await streams.wait_for_capacity()
                finally:
                    view.finish(stats, job.state)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.5 if interrupts.interrupted else None):
                            await streams.drain()
                    if interrupts.interrupted:
                        streams.note(f"{record.run_id} continues; `lanemesh cancel` ends it.")
                        await streams.drain()
                return _outcome(job, stats)
        except asyncio.CancelledError:
            if interrupts.interrupted:
                return ExitCode.INTERRUPTED
            raise


def _show_approval(approval: update_pb2.ApprovalUpdate, view: View, run_id: str, mesh: str | None) -> None:
    """Shows an approval that is requested; the view shows its decision."""
    if approval.state == update_pb2.APPROVAL_STATE_REQUESTED:
        view.note(f"{approval_line(approval)}\n{approval_hint(approval, run_id, mesh)}")


def _view(options: WatchOptions, streams: Streams, stats: RunStats, record: RunRecord) -> View:
    width = shutil.get_terminal_size((100, 24)).columns if streams.out_is_terminal else 0
    if options.json:
        return JsonView(streams, Printer(streams, {}))
    from lanemesh_orchestrator.cli.output.live_view import WatchView, why_not

    if not why_not(typed=False):
        return WatchView(
            streams,
            lambda pane: Printer(pane, {}, table_width=width),
            stats,
            name=record.name or record.run_id,
            log_level=options.log_level,
        )
    printer = Printer(streams, {}, table_width=width)
    return TextView(streams, printer, orchestrator=options.host.mesh, log_level=options.log_level)


def _outcome(job: update_pb2.JobUpdate, stats: RunStats) -> ExitCode:
    if job.state == update_pb2.RUN_STATE_COMPLETED:
        return ExitCode.COMPLETED
    if job.state == update_pb2.RUN_STATE_FAILED:
        raise RunFailed(Fault.from_proto(job.error), delivered(stats))
    raise CommandError(
        f"The run was cancelled: {job.reason or 'no reason was given'}. {delivered(stats)}", ExitCode.FAILED
    )
