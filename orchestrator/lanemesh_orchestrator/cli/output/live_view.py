"""`lanemesh run --watch`: draws the run on the terminal while it is active."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from io import StringIO

from lanemesh.v1 import update_pb2
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from lanemesh_orchestrator.cli.output.live_drawing import draw_live_model
from lanemesh_orchestrator.cli.output.live_model import LiveModel, Tail
from lanemesh_orchestrator.cli.output.logs import Lines
from lanemesh_orchestrator.cli.output.printer import Page, Printer
from lanemesh_orchestrator.cli.output.render import log_lines, timing_line, tool_lines
from lanemesh_orchestrator.cli.output.run_view import LOG_LEVELS
from lanemesh_orchestrator.cli.output.stats import RunStats
from lanemesh_orchestrator.cli.output.streams import Streams, is_terminal
from lanemesh_orchestrator.cli.output.visible import visible

FRAME_SECONDS = 0.1
"""Minimum time between two frames."""
MAX_NOTES = 1_000
"""Maximum number of lines of logs and agents that wait for the next frame; of more the last ones are shown."""


def why_not(*, typed: bool) -> str:
    """Why a run cannot be drawn here; empty if it can. `typed`: its input is typed on the terminal."""
    if not is_terminal(sys.stderr):
        return "standard error is not a terminal"
    if os.environ.get("TERM") == "dumb":
        return "the terminal cannot move its cursor (TERM=dumb)"
    if typed:
        return "input is typed on the same terminal; give it by --input, --file or a pipe"
    return ""


class WatchView:
    """Draws the run on standard error, at most ten times a second, with the end of its outputs below.

    If standard output is the same terminal, outputs are shown only in the drawing while the run is active, and the last 2,000 lines
    of them are printed when it has ended. If it is a file or a pipe, outputs are written when they arrive. Logs and the steps of
    agents are lines above the drawing.
    """

    def __init__(
        self,
        streams: Streams,
        make_printer: Callable[[Page], Printer],
        stats: RunStats,
        *,
        name: str,
        log_level: int,
    ) -> None:
        """`make_printer` creates the printer of outputs for a page; `name` is the pipeline's."""
        self._streams = streams
        self._stats = stats
        self._name = name
        self._log_level = log_level
        self._model = LiveModel()
        self._tail = Tail()
        self._printer = make_printer(_OutputPane(streams, self._tail, self.note))
        self._notes: list[tuple[str, str]] = []
        self._left_out = 0
        self._console = _Canvas(file=_Paint(streams), force_terminal=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
            vertical_overflow="crop",
        )
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._aside = ExitStack()

    def show(self, update: update_pb2.Update) -> None:
        """Takes in an update; the next frame shows it."""
        kind = update.WhichOneof("kind")
        if kind == "output":
            self._printer.show(update.output)
        elif kind == "log":
            if LOG_LEVELS.get(update.log.level, logging.INFO) >= self._log_level:
                self._above(log_lines(update.log), "dim" if update.log.level <= update_pb2.LOG_LEVEL_INFO else "")
        elif kind == "tool":
            self._above(tool_lines(update.tool), "dim")
        else:
            self._model.take(update)
        if kind == "job" and update.job.edges:
            fed = {edge.producer for edge in update.job.edges if not edge.class_type}
            targets = {edge.consumer for edge in update.job.edges if not edge.class_type} - fed
            self._printer.label_components = len(targets) > 1
        if self._timer is None:
            printed = Lines(self.note)  # output of nodes in this process
            self._aside.callback(printed.finish)
            self._aside.enter_context(redirect_stdout(printed))
            self._live.start()
            self._frame()

    def note(self, text: str) -> None:
        """Shows lines above the picture."""
        self._above(text)

    def finish(self, stats: RunStats, state: update_pb2.RunState.ValueType) -> None:
        """Takes the picture away, prints the outputs where standard output is the terminal, and leaves the last picture below."""
        self._printer.finish()
        if self._timer is not None:
            self._aside.close()
            self._timer.cancel()
            self._draw()
            self._live.stop()
        if self._streams.out_is_terminal and not self._streams.closed:
            if self._tail.dropped:
                text = f"… {self._tail.dropped:,} lines before these; `> FILE` keeps all of them"
                self._streams.note(text, dim=True)
            self._streams.out(self._tail.text)
        if self._timer is not None:
            if self._streams.wrote_out:
                self._streams.note("")
            self._console.print(self._graph(final=True))

    def _above(self, text: str, style: str = "") -> None:
        if not text:
            return
        self._notes.append((text, style))
        if len(self._notes) > MAX_NOTES:
            self._left_out += 1
            del self._notes[0]

    def _frame(self) -> None:
        if not self._streams.behind:
            self._draw()
        self._timer = self._loop.call_later(FRAME_SECONDS, self._frame)

    def _draw(self) -> None:
        self._live.update(self._graph())
        if not self._notes:
            self._live.refresh()
            return
        if self._left_out:
            self._notes.insert(0, (f"… {self._left_out:,} lines are omitted: too many at once", "dim"))
        self._console.print(Text("\n").join(Text(text, style) for text, style in self._notes))
        self._notes, self._left_out = [], 0

    def _graph(self, *, final: bool = False) -> Group:
        width, height = self._console.size
        heading = self._heading(final)
        return draw_live_model(self._model, self._tail, heading, width=width, height=height, final=final)

    def _heading(self, final: bool) -> str:
        state = self._model.state
        if final:
            text = timing_line(self._stats, state)
        else:
            started = self._stats.started
            elapsed = f" · {self._stats.clock() - started:.1f} s" if started is not None else ""
            word = update_pb2.RunState.Name(state).removeprefix("RUN_STATE_").lower().replace("unspecified", "starting")
            text = f"{word}{elapsed} · {self._stats.items:,} item{'' if self._stats.items == 1 else 's'} out"
        return f"{self._name} · {text}"


class _OutputPane:
    """Receives the printer's output, for the drawing, and for standard output if that is not the same terminal."""

    def __init__(self, streams: Streams, tail: Tail, note: Callable[[str], None]) -> None:
        self._streams = streams
        self._tail = tail
        self._note = note

    def out(self, data: str | bytes) -> None:
        """An output."""
        self._tail.add(data if isinstance(data, str) else f"<{len(data):,} bytes>\n")
        if not self._streams.out_is_terminal:
            self._streams.out(data)
        elif isinstance(data, bytes):
            self._note(f"{len(data):,} bytes are not printed on a terminal: write them to a file")

    def note(self, text: str, *, dim: bool = False) -> None:
        """The notes of the printer: the components of outputs, and written files."""
        self._tail.add(f"{text}\n")
        if not self._streams.out_is_terminal:
            self._note(text)


class _Paint(StringIO):
    """Passes rich's output to the thread that writes to standard error, so that a slow terminal delays nothing."""

    encoding = "utf-8"

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    def write(self, text: str) -> int:
        """Passes it on."""
        self._streams.paint(text)
        return len(text)


class _Canvas(Console):
    """A console that shows control characters of texts as symbols, and leaves the cursor visible: a process that is killed cannot
    show it again."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of what is drawn."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def show_cursor(self, show: bool = True) -> bool:
        """Does nothing."""
        return False
