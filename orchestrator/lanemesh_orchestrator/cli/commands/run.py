"""`lanemesh run`: one run of a pipeline, its outputs on standard output."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanemesh._aio.exits import run as run_main
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import Fault, LanemeshError
from lanemesh.pipeline_faults import PipelineInvalid
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, InvalidPipeline, RunFailed
from lanemesh_orchestrator.cli.input.documents import PipelineFile, parse_settings, pipeline_of
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host, shown_address
from lanemesh_orchestrator.cli.input.inputs import InputOptions, Inputs
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.logs import written_by
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import delivered
from lanemesh_orchestrator.cli.output.run_view import JsonView, TextView, View
from lanemesh_orchestrator.cli.output.stats import RunStats, places_of
from lanemesh_orchestrator.cli.output.streams import Streams

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.runs import Run
    from lanemesh.client.specs import Trace

    from lanemesh_orchestrator.cli.approver import Approver
    from lanemesh_orchestrator.cli.output.files import OutputFile

PLAYER = "audio_player"
"""The node type whose audio goes to files where it is not played."""
DRAIN_SECONDS = 0.5
"""How long an interrupted run waits for a reader of its outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `run`."""

    pipe: str
    """The pipeline's file, or the name of a deployed one, as "@chat"."""
    input: InputOptions = field(default_factory=InputOptions)
    """`--input`, `--file`, `--lines`."""
    host: HostOptions = field(default_factory=HostOptions)
    """`--spread`, `--mesh`, `--nodes`."""
    settings: Sequence[str] = ()
    """`--set`."""
    outputs: Sequence[str] = ()
    """`--output`."""
    json: bool = False
    """`--json`."""
    quiet: bool = False
    """`--quiet`."""
    watch: bool = False
    """`--watch`."""
    timeout: float | None = None
    """`--timeout`, in seconds."""
    trace: Trace | None = None
    """`--trace`."""
    session: str = ""
    """`--session`."""
    source: str = ""
    """`--source`."""
    log_level: int = logging.WARNING
    """The lowest level of shown log lines of nodes."""


def run(options: RunOptions) -> ExitCode:
    """Runs a pipeline and returns the exit code. Raises `CommandError` for what is no run, or a failed one."""
    return run_main(_main(options))


async def _main(options: RunOptions) -> ExitCode:
    pipeline = await pipeline_of(options.pipe, options.host)
    settings = parse_settings(options.settings)
    components = pipeline.components()
    files: dict[str, OutputFile] = {}
    if options.outputs or PLAYER in pipeline.providers():
        from lanemesh_orchestrator.cli.output.files import parse_outputs, player_files

        files = parse_outputs(options.outputs, _ids(components))
        files |= {} if options.json else player_files(components, files)
    options.input.check()
    if options.watch and (options.json or options.quiet):
        raise CommandError(f"--watch and {'--json' if options.json else '--quiet'} cannot both be given.")
    with Interrupts() as interrupts:
        try:
            async with open_host(options.host) as host:
                inputs = Inputs(
                    options.input, await find_source(host, pipeline, settings, options.input, options.source)
                )
                started = host.run(
                    pipeline.document,
                    inputs=inputs,
                    settings=settings,
                    timeout=options.timeout,
                    trace=options.trace,
                    variables=pipeline.variables,
                    session=options.session,
                    source=options.source,
                )
                async with StartedRun(started, pipeline) as updates:
                    interrupts.cancel = lambda: started.cancel("interrupted by the user")
                    return await _show(
                        options, started, updates, host, inputs, files, components, lambda: interrupts.interrupted
                    )
        except asyncio.CancelledError:
            if interrupts.interrupted:
                return ExitCode.INTERRUPTED
            raise


def _ids(components: Sequence[Mapping[str, Any]]) -> list[str]:
    return [entry["id"] for entry in components if isinstance(entry.get("id"), str)]


class StartedRun:
    """Starts a run on entering and yields its updates; raises `InvalidPipeline` for an invalid pipeline."""

    def __init__(self, run: Run, pipeline: PipelineFile) -> None:
        self._run = run
        self._pipeline = pipeline
        self._updates: AsyncGenerator[update_pb2.Update, None] = wire_updates(run)

    async def __aenter__(self) -> AsyncIterator[update_pb2.Update]:
        try:
            await self._run.start()
        except PipelineInvalid as error:
            await self._run.close()
            raise InvalidPipeline(self._pipeline.name, self._pipeline.text, error.faults) from None
        except LanemeshError:
            await self._run.close()
            raise
        return self._updates

    async def __aexit__(self, *error: Any) -> None:
        await self._updates.aclose()


async def find_source(
    host: RunHost, pipeline: PipelineFile, settings: dict[str, Any], given: InputOptions, named: str = ""
) -> Any:
    """The source that takes the inputs: the one that is named, or without a name that of the pipeline; None: there is none.

    Raises:
        InvalidPipeline: several are possible, or the pipeline is invalid.
        CommandError: there are inputs but no source.
    """
    types = await host.node_types(pipeline.providers())
    source = pipeline.source(types, named=named)
    found = pipeline.sources(types)
    if source is None and not named and not pipeline.names_source and len(found) > 1:
        from lanemesh_orchestrator.pipeline.parts import several_sources

        raise InvalidPipeline(pipeline.name, pipeline.text, [several_sources([one.component for one in found])])
    if source is None and (given.are_given or given.lines):
        from lanemesh_orchestrator.cli.output.faults import is_warning

        faults = await host.validate(pipeline.document, settings=settings, variables=pipeline.variables, source=named)
        if any(not is_warning(fault) for fault in faults):
            raise InvalidPipeline(pipeline.name, pipeline.text, faults)
        why = "it has no source, such as chat" if not found else "its source feeds itself"
        hint = f", or name another source with --source: {', '.join(one.component for one in found)}" if found else ""
        raise CommandError(f"{pipeline.name} accepts no input: {why}. Remove --input, --file and --lines{hint}.")
    return source


async def _show(
    options: RunOptions,
    started: Run,
    updates: AsyncIterator[update_pb2.Update],
    host: RunHost,
    inputs: Inputs,
    files: dict[str, OutputFile],
    components: Sequence[Mapping[str, Any]],
    interrupted: Callable[[], bool],
) -> ExitCode:
    closing = asyncio.Event()
    streams = Streams(on_closed=closing.set)
    quit_quietly = asyncio.create_task(_cancel_when(closing, started), name="closed standard output")
    stats = RunStats(places=places_of(components, parse_settings(options.settings)))
    job = update_pb2.JobUpdate()
    view = _view(options, streams, files, host, stats, typed=inputs.typed)
    approver = _Approvals(started, view, asks=not options.json and inputs.leaves_terminal, mesh=options.host.mesh)
    try:
        with written_by(view.note, _ids(components)):
            async for update in updates:
                stats.take(update)
                view.show(update)
                approver.take(update)
                if update.WhichOneof("kind") == "job":
                    job = update.job
                await streams.wait_for_capacity()
    finally:
        quit_quietly.cancel()
        await approver.close()
        view.finish(stats, job.state)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS if interrupted() else None):
                await streams.drain()
    if streams.error is not None:
        raise CommandError(f"Standard output cannot be written: {streams.error.strerror}.", ExitCode.FAILED)
    embedded = options.host.mesh is None and options.host.spread is None
    return _outcome(job, stats, inputs, closed=streams.closed, embedded=embedded)


class _Approvals:
    """Asks for the approvals of a run on the terminal, unless its input comes from there. Created on the first one."""

    def __init__(self, started: Run, view: View, *, asks: bool, mesh: str | None) -> None:
        self._started = started
        self._view = view
        self._asks = asks
        self._mesh = mesh
        self._approver: Approver | None = None

    def take(self, update: update_pb2.Update) -> None:
        """Takes in an update of the run."""
        if update.WhichOneof("kind") != "approval":
            return
        if self._approver is None:
            from lanemesh_orchestrator.cli.approver import Approver

            self._approver = Approver(
                *(self._decide, self._view.note),
                run_id=lambda: self._started.id,
                asks=self._asks,
                mesh=self._mesh,
            )
        self._approver.take(update)

    async def close(self) -> None:
        """Stops asking."""
        if self._approver is not None:
            await self._approver.close()

    async def _decide(self, call_id: str, component: str, approved: bool) -> None:
        if approved:
            await self._started.approve(call_id, component=component)
        else:
            await self._started.refuse(call_id, "refused by the user", component=component)


async def _cancel_when(closing: asyncio.Event, started: Run) -> None:
    await closing.wait()
    await started.cancel("standard output was closed")


def _view(
    options: RunOptions,
    streams: Streams,
    files: dict[str, OutputFile],
    host: RunHost,
    stats: RunStats,
    *,
    typed: bool,
) -> View:
    width = shutil.get_terminal_size((100, 24)).columns if streams.out_is_terminal else 0
    if options.watch:
        from lanemesh_orchestrator.cli.output.live_view import WatchView, why_not

        why = why_not(typed=typed)
        if not why:
            return WatchView(
                streams,
                lambda pane: Printer(pane, files, table_width=width),
                stats,
                name=Path(options.pipe).name,
                log_level=options.log_level,
            )
        streams.note(f"--watch draws nothing here: {why}.", dim=True)
    printer = Printer(streams, files, table_width=width)
    if options.json:
        return JsonView(streams, printer)
    return TextView(
        streams,
        printer,
        orchestrator=shown_address(options.host, host),
        quiet=options.quiet,
        log_level=options.log_level,
    )


def _outcome(job: update_pb2.JobUpdate, stats: RunStats, inputs: Inputs, *, closed: bool, embedded: bool) -> ExitCode:
    if inputs.error is not None:
        raise inputs.error
    if closed or job.state == update_pb2.RUN_STATE_COMPLETED:
        return ExitCode.COMPLETED
    if job.state == update_pb2.RUN_STATE_FAILED:
        raise RunFailed(Fault.from_proto(job.error), delivered(stats), embedded=embedded)
    if job.reason.startswith("interrupted"):
        return ExitCode.INTERRUPTED
    raise CommandError(
        f"The run was cancelled: {job.reason or 'no reason was given'}. {delivered(stats)}", ExitCode.FAILED
    )
