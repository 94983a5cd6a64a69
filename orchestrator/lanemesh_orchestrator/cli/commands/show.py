"""`lanemesh show`: a run that a mesh knows, under way or ended."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import run_pb2, update_pb2

from lanemesh_orchestrator.cli.commands.runs import find, is_missing, lasted, on, record_json, state
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, RunFailed
from lanemesh_orchestrator.cli.input.documents import PipelineFile
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.cli.output.errors import render_failure, report
from lanemesh_orchestrator.cli.output.files import parse_outputs
from lanemesh_orchestrator.cli.output.json_updates import edge_json, placement_json, to_json
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import log_lines, tool_lines, trace_line
from lanemesh_orchestrator.cli.output.streams import Streams
from lanemesh_orchestrator.pipeline.drawing import draw_shapes

if TYPE_CHECKING:
    from lanemesh.client.runs import RunHost

MAX_EVENTS = 200
"""Most log messages and tool calls that are shown of one run; the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowOptions:
    """What the command line of `show` says."""

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
        """Raises `CommandError` for what cannot be meant."""
        only = [name for name in ("outputs", "updates", "trace") if getattr(self, name)]
        if len(only) > 1:
            raise CommandError(f"--{only[0]} and --{only[1]} cannot both be given: each shows nothing else.")
        if self.files and self.json:
            raise CommandError("--output and --json cannot both be given: with --json, outputs are in the JSON.")


@dataclass(slots=True)
class NodeTimes:
    """The states of one node, and the seconds that it spent in each."""

    latest: update_pb2.NodeUpdate | None = None
    """The latest update."""
    since: float = 0.0
    """When its state began, in seconds since 1970."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds by state, without the present one."""

    def take(self, update: update_pb2.Update) -> None:
        """Takes in a node update."""
        at = update.time.ToNanoseconds() / 1e9
        if self.latest is not None:
            name = _node_state(self.latest)
            self.spent[name] = self.spent.get(name, 0.0) + max(0.0, at - self.since)
        self.latest, self.since = update.node, at

    def line(self, component: str) -> str:
        """`llm_1 completed: 3 firings, running 1.20 s, waiting 0.30 s`; a failed node is marked with ✗ and its error."""
        assert self.latest is not None, "made by the first update"
        mark = "✗ " if self.latest.state == update_pb2.NODE_STATE_FAILED else ""
        parts = (
            [f"{self.latest.firings:,} firing{'' if self.latest.firings == 1 else 's'}"] if self.latest.firings else []
        )
        parts += [f"{state} {seconds:.2f} s" for state, seconds in self.spent.items()]
        detail = self.latest.error.message if self.latest.HasField("error") else self.latest.detail
        parts += [" ".join(detail.split())] if detail else []
        head = f"{mark}{component} {_node_state(self.latest)}"
        return f"{head}: {', '.join(parts)}" if parts else head


@dataclass(slots=True)
class Shape:
    """Where a run's components are, and what has gone over its edges."""

    placements: Sequence[update_pb2.Placement] = ()
    edges: Sequence[update_pb2.EdgeShape] = ()
    latest: dict[str, update_pb2.EdgeUpdate] = field(default_factory=dict)
    """The latest update of each edge."""
    nodes: dict[str, NodeTimes] = field(default_factory=dict)
    """States and times of each node."""
    events: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """The latest log messages and tool calls, as lines."""
    event_count: int = 0
    """Log messages and tool calls in all."""

    def take(self, update: update_pb2.Update) -> None:
        """Takes in an update."""
        kind = update.WhichOneof("kind")
        if kind == "edge":
            self.latest[update.edge.edge_id] = update.edge
        elif kind == "node":
            self.nodes.setdefault(update.node.component, NodeTimes()).take(update)
        elif kind in ("log", "tool"):
            self.events.append(log_lines(update.log) if kind == "log" else tool_lines(update.tool))
            self.event_count += 1
        elif update.job.placements:
            self.placements, self.edges = update.job.placements, update.job.edges

    def lines(self) -> list[str]:
        """The graph, its servers and its edges, for people."""
        if not self.placements:
            return []
        told = [draw_shapes(self.edges, [place.component for place in self.placements]), ""]
        told += [f"{place.component} ({place.provider}) ran in {place.server}" for place in self.placements]
        told += [times.line(component) for component, times in self.nodes.items()]
        told += [f"{edge.edge_id}: {edge.sent:,} sent, {edge.consumed:,} taken" for edge in self.latest.values()]
        if self.events:
            left_out = self.event_count - len(self.events)
            told += ["", *([f"{left_out:,} earlier logs and tool calls: --updates prints them"] if left_out else [])]
            told += [event for event in self.events if event]
        return told


def show(runs: Sequence[str], host: HostOptions, options: ShowOptions) -> ExitCode:
    """Prints what is recorded of runs, one after the other. A run that does not exist is reported, and the others are shown."""
    options.check()
    if len(runs) > 1 and options.files:
        raise CommandError("--output takes the outputs of one run: give one RUN.")

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

    async def one(mesh: RunHost, found: run_pb2.GetRunResponse, streams: Streams) -> None:
        async with aclosing(_so_far(mesh, found.run)) as updates:
            if options.updates or options.trace:
                await _lines(updates, streams, options)
            elif options.json:
                await _object(found, updates, streams)
            else:
                await _text(found, updates, streams, options)

    return on(host, work)


async def _so_far(mesh: RunHost, record: run_pb2.RunRecord) -> AsyncGenerator[update_pb2.Update, None]:
    """The updates that there are by now."""
    if not record.last_sequence:
        return
    async with aclosing(mesh.attach(record.run_id).messages()) as updates:
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
            await streams.room()


async def _object(
    found: run_pb2.GetRunResponse, updates: AsyncGenerator[update_pb2.Update, None], streams: Streams
) -> None:
    """The whole run as one JSON object."""
    shape, outputs = Shape(), []
    async for update in updates:
        shape.take(update)
        if update.WhichOneof("kind") == "output":
            outputs.append(to_json(update))
    flat: dict[str, Any] = record_json(found.run) | {
        "pipeline": found.pipeline_json,
        "placements": [placement_json(place) for place in shape.placements],
        "edges": [edge_json(edge) for edge in shape.latest.values()],
        "outputs": outputs,
    }
    streams.out(json_text(flat, indent=2) + "\n")


async def _text(
    found: run_pb2.GetRunResponse,
    updates: AsyncGenerator[update_pb2.Update, None],
    streams: Streams,
    options: ShowOptions,
) -> None:
    """The run for people: what became of it, its outputs, its nodes and edges, its error."""
    width = shutil.get_terminal_size((100, 24)).columns if streams.out_is_terminal else 0
    ids = [
        entry["id"] for entry in PipelineFile("", found.pipeline_json).components() if isinstance(entry.get("id"), str)
    ]
    printer, shape = Printer(streams, parse_outputs(options.files, ids), table_width=width), Shape()
    if not options.outputs:
        streams.out(f"{_heading(found.run)}\n\n")
    async for update in updates:
        shape.take(update)
        if update.WhichOneof("kind") == "output":
            printer.show(update.output)
            await streams.room()
    printer.finish()
    if options.outputs:
        return
    if found.run.output_count:
        streams.out("\n")
    streams.out("".join(f"{line}\n" for line in shape.lines()))
    if found.run.HasField("error"):
        fault = Fault.from_proto(found.run.error)
        count = found.run.output_count
        delivered = f"Delivered until then: {count:,} item{'' if count == 1 else 's'}."
        streams.out(f"\n{render_failure(RunFailed(fault, delivered))}\n")


def _node_state(node: update_pb2.NodeUpdate) -> str:
    return update_pb2.NodeState.Name(node.state).removeprefix("NODE_STATE_").lower()


def _heading(record: run_pb2.RunRecord) -> str:
    name = f"@{record.deployment} version {record.deployment_version}" if record.deployment else record.name
    began = record.created_at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")
    count = f"{record.output_count:,} output{'' if record.output_count == 1 else 's'}"
    took = lasted(record, time.time())
    told = [record.run_id, name, state(record), f"started {began}", took, count, record.reason]
    return " · ".join(part for part in told if part)
