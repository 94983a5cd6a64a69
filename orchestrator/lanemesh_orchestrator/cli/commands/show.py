"""`lanemesh show`: a run that a mesh knows, under way or ended."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lanemesh.client.detached import wire_updates_until
from lanemesh.faults import LanemeshError
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.commands.runs import find, is_missing, lasted, run_on_mesh
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.documents import PipelineFile
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.cli.output.errors import render_failure, report
from lanemesh_orchestrator.cli.output.files import parse_outputs
from lanemesh_orchestrator.cli.output.json_lines import to_line
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import delivered_items, trace_line
from lanemesh_orchestrator.cli.output.run_history import RunHistory
from lanemesh_orchestrator.cli.output.streams import Streams
from lanemesh_orchestrator.cli.output.visible import visible
from lanemesh_orchestrator.record_json import record_json
from lanemesh_orchestrator.update_json import to_json

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """The options of `show`."""

    outputs: bool = False
    """`--outputs`: only the outputs are printed; with `json`, each on a line."""
    updates: bool = False
    """`--updates`: only the updates are printed, each as JSON on a line."""
    trace: bool = False
    """`--trace`: only the items that reached nodes are printed, each on a line."""
    files: Sequence[str] = ()
    """`--output`: the files of outputs, each as COMPONENT=FILE."""
    json: bool = False
    """`--json`: all of a run is one JSON object on a line."""

    def check(self) -> None:
        """Raises `CommandError` for a contradiction."""
        parts = self._parts()
        if len(parts) > 1:
            raise CommandError(
                f"--{parts[0]} and --{parts[1]} cannot both be given: each prints only its own part. Give one of them."
            )
        if self.files and (self.updates or self.trace):
            raise CommandError(
                f"--output and --{parts[0]} cannot both be given: with --{parts[0]}, no outputs are written. "
                "Give one of them."
            )
        if self.files and self.json:
            raise CommandError(
                "--output and --json cannot both be given: with --json, outputs are in the JSON. Give one of them."
            )

    @property
    def prints_all(self) -> bool:
        """Whether all of a run is printed, and not only one part."""
        return not self._parts()

    def _parts(self) -> list[str]:
        return [name for name in ("outputs", "updates", "trace") if getattr(self, name)]


def show(runs: Sequence[str], host: HostOptions, options: ShowOptions) -> ExitCode:
    """Prints runs, one after the other. A run that does not exist is reported, and the others are shown."""
    options.check()
    if len(runs) > 1 and options.files:
        raise CommandError("--output needs one run: give one RUN.")
    return run_on_mesh(host, lambda mesh: _show_all(mesh, runs, options))


async def _show_all(mesh: RunHost, runs: Sequence[str], options: ShowOptions) -> ExitCode:
    code, streams, separator = ExitCode.COMPLETED, Streams(), ""
    for run in runs:
        try:
            record = await mesh.record((await find(mesh, run)).run_id)
            streams.out(separator)
            separator = "\n" if options.prints_all and not options.json else ""
            await _show_one(mesh, record, streams, options)
        except (CommandError, LanemeshError) as error:
            await streams.drain()  # the error does not appear inside what was shown before
            if len(runs) == 1 or not is_missing(error):
                raise
            code = report(error)
        await streams.drain()
        if streams.closed:
            break
    if streams.error is not None:
        raise CommandError(f"Standard output cannot be written: {streams.error.strerror}.", ExitCode.FAILED)
    return code


async def _show_one(mesh: RunHost, record: RunRecord, streams: Streams, options: ShowOptions) -> None:
    run = mesh.attach(record.run_id)
    async with aclosing(wire_updates_until(run, record.last_sequence)) as updates:
        if options.updates or options.trace or (options.outputs and options.json):
            await _write_lines(updates, streams, options)
        elif options.json:
            await _write_object(record, run, updates, streams)
        else:
            await _write_text(record, run, updates, streams, options)
    if run.missed and not options.prints_all:
        streams.note(_missed_line(run))


async def _write_lines(
    updates: AsyncGenerator[update_pb2.Update, None], streams: Streams, options: ShowOptions
) -> None:
    """Writes all updates, or only outputs or traces, one per line."""
    kind = "output" if options.outputs else "trace" if options.trace else ""
    async for update in updates:
        if kind in ("", update.WhichOneof("kind")):
            as_json = options.updates or options.json
            streams.out(to_line(update) if as_json else visible(f"{trace_line(update.trace)}\n"))
            await streams.wait_for_capacity()


async def _write_object(
    record: RunRecord, run: DetachedRun, updates: AsyncGenerator[update_pb2.Update, None], streams: Streams
) -> None:
    """Writes the whole run as one JSON object on a line."""
    history, outputs = RunHistory(), []
    async for update in updates:
        history.take(update)
        if update.WhichOneof("kind") == "output":
            outputs.append(to_json(update))
    whole_run: dict[str, Any] = record_json(record) | {"pipeline": record.pipeline_json} | history.as_json()
    whole_run |= {"outputs": outputs, "missed_updates": run.missed}
    streams.out(f"{json_text(whole_run)}\n")


async def _write_text(
    record: RunRecord,
    run: DetachedRun,
    updates: AsyncGenerator[update_pb2.Update, None],
    streams: Streams,
    options: ShowOptions,
) -> None:
    """Writes the run for people: its state, outputs, missed updates, nodes, edges and error."""
    width = shutil.get_terminal_size((100, 24)).columns if streams.out_is_terminal else 0
    ids = [
        entry["id"] for entry in PipelineFile("", record.pipeline_json).components() if isinstance(entry.get("id"), str)
    ]
    printer, history = Printer(streams, parse_outputs(options.files, ids), table_width=width), RunHistory()
    has_outputs = False
    if options.prints_all:
        streams.out(visible(f"{_heading(record)}\n"))
    async for update in updates:
        history.take(update)
        if update.WhichOneof("kind") == "output":
            if options.prints_all and not has_outputs:
                streams.out("\n")
            has_outputs = True
            printer.show(update.output)
            await streams.wait_for_capacity()
    printer.finish()
    if not options.prints_all:
        return
    missed = _missed_line(run) if run.missed else ""
    failure = render_failure(record.error, delivered_items(record.output_count)) if record.error is not None else ""
    sections = [section for section in (missed, "\n".join(history.lines()), failure) if section]
    streams.out(visible("".join(f"\n{section}\n" for section in sections)))


def _heading(record: RunRecord) -> str:
    name = f"@{record.deployment} version {record.deployment_version}" if record.deployment else record.name
    began = record.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    count = f"{record.output_count:,} output{'' if record.output_count == 1 else 's'}"
    took = lasted(record, datetime.now(UTC))
    fields = [record.run_id, name, record.state, f"started {began}", took, count, record.reason]
    return " · ".join(" ".join(field.split()) for field in fields if field)


def _missed_line(run: DetachedRun) -> str:
    count = f"{run.missed:,} update{'' if run.missed == 1 else 's'}"
    return (
        f"No longer kept, and missing here: {count} of {run.id}. Outputs may be among them. "
        "A mesh with a store keeps all updates."
    )
