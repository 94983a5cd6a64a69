"""Shows a run while it is active: for people, or as JSON lines."""

from __future__ import annotations

import logging
import re
import time
from typing import Protocol

from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import (
    approval_line,
    edge_line,
    log_lines,
    mesh_line,
    node_line,
    progress_line,
    timing_line,
    tool_lines,
    trace_line,
)
from lanemesh_orchestrator.cli.output.stats import RunStats
from lanemesh_orchestrator.cli.output.streams import Streams

_NUMBER = re.compile(r"[\d,]*\d")
PROGRESS_SECONDS = 1.0
"""Minimum time between two equal lines of one component's progress."""


class View(Protocol):
    """Shows a run."""

    def show(self, update: update_pb2.Update) -> None:
        """Shows one update. Never blocks."""

    def note(self, text: str) -> None:
        """Shows lines that are not from the run, such as a log of this process."""

    def finish(self, stats: RunStats, state: update_pb2.RunState.ValueType) -> None:
        """Shows how the run ended."""


class JsonView:
    """One update per line on standard output; see `update_json`."""

    def __init__(self, streams: Streams, printer: Printer) -> None:
        self._streams = streams
        self._printer = printer

    def show(self, update: update_pb2.Update) -> None:
        """Prints the update; media goes to its file first, if it has one."""
        from lanemesh_orchestrator.cli.output.json_lines import to_line

        file = self._printer.write_media(update.output) if update.WhichOneof("kind") == "output" else ""
        self._streams.out(to_line(update, file=file))

    def note(self, text: str) -> None:
        """Writes them to standard error."""
        self._streams.note(text)

    def finish(self, stats: RunStats, state: update_pb2.RunState.ValueType) -> None:
        """The last update has reported it."""


class TextView:
    """Outputs on standard output; the mesh, the graph, agents, logs and the timing on standard error."""

    def __init__(
        self,
        streams: Streams,
        printer: Printer,
        *,
        orchestrator: str | None = None,
        quiet: bool = False,
        timing: bool = True,
        log_level: int = logging.WARNING,
    ) -> None:
        """`orchestrator` is the address of the mesh, which is shown with the graph; None for a run in this process.
        `quiet` leaves out all but outputs and logs, `timing=False` the last line."""
        self._streams = streams
        self._printer = printer
        self._orchestrator = orchestrator
        self._quiet = quiet
        self._timing = timing and not quiet
        self._log_level = log_level
        self._running_seen = False
        self._progress: dict[str, tuple[str, float]] = {}
        self._growths: dict[str, int] = {}
        self._waits: dict[str, set[str]] = {}
        """The details that were shown of each edge, without their numbers."""

    def show(self, update: update_pb2.Update) -> None:
        """Shows the line for an update."""
        kind = update.WhichOneof("kind")
        if kind == "output":
            self._printer.show(update.output)
        elif kind == "job":
            if update.job.state == update_pb2.RUN_STATE_RUNNING:
                self._running(update.job)
            elif update.job.state == update_pb2.RUN_STATE_STARTING and update.job.reason and not self._quiet:
                self._streams.note(update.job.reason, dim=True)
        elif kind == "log":
            if LOG_LEVELS.get(update.log.level, logging.INFO) >= self._log_level:
                self._streams.note(log_lines(update.log), dim=update.log.level <= update_pb2.LOG_LEVEL_INFO)
        elif not self._quiet:
            self._aside(update)

    def note(self, text: str) -> None:
        """Writes them to standard error."""
        self._streams.note(text)

    def finish(self, stats: RunStats, state: update_pb2.RunState.ValueType) -> None:
        """Ends the last line; prints the timing if it is meaningful."""
        self._printer.finish()
        interrupted = state == update_pb2.RUN_STATE_CANCELLED
        worth_telling = self._running_seen and (self._orchestrator is not None or stats.report_timing or interrupted)
        if self._timing and worth_telling and not self._streams.closed:
            if self._streams.wrote_out:
                self._streams.note("")
            self._streams.note(timing_line(stats, state), dim=True)

    def _running(self, job: update_pb2.JobUpdate) -> None:
        self._running_seen = True
        fed = {edge.producer for edge in job.edges if not edge.class_type}
        targets = {edge.consumer for edge in job.edges if not edge.class_type} - fed
        self._printer.label_components = self._streams.out_is_terminal and len(targets) > 1
        if self._orchestrator is None or self._quiet or not job.placements:
            return
        from lanemesh_orchestrator.pipeline.drawing import draw_shapes

        self._streams.note(mesh_line(job.placements, self._orchestrator), dim=True)
        self._streams.note(draw_shapes(job.edges, [place.component for place in job.placements]), dim=True)
        self._streams.note("")

    def _aside(self, update: update_pb2.Update) -> None:
        kind = update.WhichOneof("kind")
        if kind == "tool":
            text = tool_lines(update.tool)
        elif kind == "approval" and update.approval.state != update_pb2.APPROVAL_STATE_REQUESTED:
            text = approval_line(update.approval)  # a request is shown by the question for it
        elif kind == "node":
            text = node_line(update.node)
        elif kind == "edge":
            text = self._edge_line(update.edge)
        elif kind == "trace":
            text = trace_line(update.trace)
        elif kind == "progress":
            text = self._progress_line(update.progress)
        else:
            return
        if text:
            self._streams.note(text, dim=True)

    def _edge_line(self, edge: update_pb2.EdgeUpdate) -> str:
        """A wait is shown once: a pipeline that runs for days waits for its source after each input."""
        shown, kind = self._waits.setdefault(edge.edge_id, set()), _NUMBER.sub("0", edge.detail)
        text = edge_line(edge, (self._growths.get(edge.edge_id, 0), edge.detail if kind in shown else ""))
        self._growths[edge.edge_id] = edge.growths
        shown.add(kind)
        return text

    def _progress_line(self, progress: update_pb2.ProgressUpdate) -> str:
        shown, at = self._progress.get(progress.component, ("", 0.0))
        now = time.monotonic()
        if shown == progress.message and now - at < PROGRESS_SECONDS:
            return ""
        self._progress[progress.component] = progress.message, now
        return progress_line(progress)


LOG_LEVELS = {
    update_pb2.LOG_LEVEL_DEBUG: logging.DEBUG,
    update_pb2.LOG_LEVEL_INFO: logging.INFO,
    update_pb2.LOG_LEVEL_WARNING: logging.WARNING,
    update_pb2.LOG_LEVEL_ERROR: logging.ERROR,
}
"""Levels of the nodes' logs, as Python has them."""
