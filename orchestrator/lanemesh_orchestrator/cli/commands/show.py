"""`lanemesh show`: a run that a mesh knows, under way or ended."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import LanemeshError
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.commands.runs import find, is_missing, lasted, run_on_mesh
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.documents import PipelineFile
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.cli.output.errors import render_failure, report
from lanemesh_orchestrator.cli.output.files import parse_outputs
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import delivered_items, trace_line
from lanemesh_orchestrator.cli.output.run_history import RunHistory
from lanemesh_orchestrator.cli.output.streams import Streams
from lanemesh_orchestrator.record_json import record_json
from lanemesh_orchestrator.update_json import to_json

if TYPE_CHECKING:
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_host import RunHost


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """The options of `show`."""

    outputs: bool = False
    """`--outputs`: nothing but them."""
    updates: bool = False
    """`--updates`: nothing but them, as JSON lines."""
    trace: bool = False
    """`--trace`: nothing but the items that reached nodes."""
    files: Sequence[str] = ()
    """`--output`."""
    json: bool = False
    """`--json`."""

    def check(self) -> None:
        """Raises `CommandError` for a contradiction."""
        only = [name for name in ("outputs", "updates", "trace") if getattr(self, name)]
        if len(only) > 1:
            raise CommandError(f"--{only[0]} and --{only[1]} cannot both be given: each prints only its own part.")
        if self.files and self.json:
            raise CommandError("--output and --json cannot both be given: with --json, outputs are in the JSON.")


def show(runs: Sequence[str], host: HostOptions, options: ShowOptions) -> ExitCode:
    """Prints the records of runs, one after the other. A run that does not exist is reported, and the others are shown."""
    options.check()
    if len(runs) > 1 and options.files:
        raise CommandError("--output needs one run: give one RUN.")

    async def work(mesh: RunHost) -> ExitCode:
        code, streams = ExitCode.COMPLETED, Streams(on_closed=lambda: None)
        for number, run in enumerate(runs):
            try:
                found = await mesh.record((await find(mesh, run)).run_id)
            except (CommandError, LanemeshError) as error:
                if len(runs) == 1 or not is_missing(error):
                    raise
                code = report(error)
                continue
            if number and not (options.outputs or options.updates or options.trace or options.json):
                streams.out("\n")
            await one(mesh, found, streams)
        await streams.drain()
        if streams.error is not None:
            raise CommandError(f"Standard output cannot be written: {streams.error.strerror}.", ExitCode.FAILED)
        return code

    async def one(mesh: RunHost, found: RunRecord, streams: Streams) -> None:
        async with aclosing(_so_far(mesh, found)) as updates:
            if options.updates or options.trace:
                await _lines(updates, streams, options)
            elif options.json:
                await _object(found, updates, streams)
            else:
                await _text(found, updates, streams, options)

    return run_on_mesh(host, work)


async def _so_far(mesh: RunHost, record: RunRecord) -> AsyncGenerator[update_pb2.Update, None]:
    """The updates that there are by now."""
    if not record.last_sequence:
        return
    async with aclosing(wire_updates(mesh.attach(record.run_id))) as updates:
        async for update in updates:
            yield update
            if update.sequence >= record.last_sequence:
                return


async def _lines(updates: AsyncGenerator[update_pb2.Update, None], streams: Streams, options: ShowOptions) -> None:
    """Updates or traces, one a line."""
    async for update in updates:
        if options.updates or update.WhichOneof("kind") == "trace":
            as_json = options.updates or options.json
            line = json_text(to_json(update)) if as_json else trace_line(update.trace)
            streams.out(f"{line}\n")
            await streams.wait_for_capacity()


async def _object(found: RunRecord, updates: AsyncGenerator[update_pb2.Update, None], streams: Streams) -> None:
    """The whole run as one JSON object."""
    history, outputs = RunHistory(), []
    async for update in updates:
        history.take(update)
        if update.WhichOneof("kind") == "output":
            outputs.append(to_json(update))
    flat: dict[str, Any] = record_json(found) | {"pipeline": found.pipeline_json} | history.as_json()
    flat["outputs"] = outputs
    streams.out(json_text(flat, indent=2) + "\n")


async def _text(
    found: RunRecord,
    updates: AsyncGenerator[update_pb2.Update, None],
    streams: Streams,
    options: ShowOptions,
) -> None:
    """The run for people: its state, outputs, nodes, edges and error."""
    width = shutil.get_terminal_size((100, 24)).columns if streams.out_is_terminal else 0
    ids = [
        entry["id"] for entry in PipelineFile("", found.pipeline_json).components() if isinstance(entry.get("id"), str)
    ]
    printer, history = Printer(streams, parse_outputs(options.files, ids), table_width=width), RunHistory()
    if not options.outputs:
        streams.out(f"{_heading(found)}\n\n")
    async for update in updates:
        history.take(update)
        if update.WhichOneof("kind") == "output":
            printer.show(update.output)
            await streams.wait_for_capacity()
    printer.finish()
    if options.outputs:
        return
    if found.output_count:
        streams.out("\n")
    streams.out("".join(f"{line}\n" for line in history.lines()))
    if found.error is not None:
        streams.out(f"\n{render_failure(found.error, delivered_items(found.output_count))}\n")


def _heading(record: RunRecord) -> str:
    name = f"@{record.deployment} version {record.deployment_version}" if record.deployment else record.name
    began = record.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    count = f"{record.output_count:,} output{'' if record.output_count == 1 else 's'}"
    took = lasted(record, datetime.now(UTC))
    fields = [record.run_id, name, record.state, f"started {began}", took, count, record.reason]
    return " · ".join(part for part in fields if part)
