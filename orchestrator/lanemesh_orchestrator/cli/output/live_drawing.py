"""Draws a run as lines for a terminal: a line per node and input, their details, and the output below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lanemesh.v1 import update_pb2
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Group
from rich.text import Text

from lanemesh_orchestrator.cli.output.live_model import LiveEdge, LiveModel, LiveNode, Tail, chosen
from lanemesh_orchestrator.cli.output.render import failed_firings, helper_activity, is_secondary
from lanemesh_orchestrator.pipeline.graph import LANE_NAMES

MIN_OUTPUT, MAX_OUTPUT = 3, 12
"""Minimum (if there is output) and maximum number of shown lines of output."""
WIDE = 100
"""Columns from which on node types and node servers are shown."""
_BAR = 10
_MAX_NAME = 24

_SHOWN: dict[update_pb2.NodeState.ValueType, tuple[str, str]] = {
    update_pb2.NODE_STATE_UNSPECIFIED: ("·", "dim"),
    update_pb2.NODE_STATE_STARTING: ("·", "dim"),
    update_pb2.NODE_STATE_RUNNING: ("●", "green"),
    update_pb2.NODE_STATE_WAITING: ("◌", "yellow"),
    update_pb2.NODE_STATE_COMPLETED: ("✓", "green"),
    update_pb2.NODE_STATE_SKIPPED: ("–", "dim"),
    update_pb2.NODE_STATE_FAILED: ("✗", "bold red"),
    update_pb2.NODE_STATE_CANCELLED: ("⊘", "yellow"),
}


def draw_live_model(
    model: LiveModel, tail: Tail, heading: str, *, width: int, height: int, final: bool = False
) -> Group:
    """Draws the run in at most this number of columns and lines.

    Args:
        model: the run.
        tail: the end of its output, shown below unless `final`.
        heading: the first line: pipeline, duration, outputs.
    """
    output = [] if final else _output(tail, width, min(MAX_OUTPUT, max(MIN_OUTPUT, height // 3)))
    height_left = max(1, height - len(output) - 4) if not final else len(model.nodes) * 100
    return Group(
        Text(heading, style="bold", no_wrap=True, overflow="ellipsis"), *_graph(model, width, height_left), *output
    )


def _graph(model: LiveModel, width: int, height_left: int) -> list[Text]:
    nodes = list(model.nodes.values())
    if not nodes:
        return [Text("  no component is placed yet", style="dim")]
    columns = _Columns(nodes, width)
    blocks = {node.component: columns.block(node) for node in nodes}
    shown = chosen(nodes, [len(blocks[node.component]) for node in nodes], height_left)
    lines = [columns.head(), *(line for node in shown for line in blocks[node.component])]
    missing = [node for node in nodes if node not in shown]
    return [*lines, _rest(missing)] if missing else lines


def _rest(nodes: Sequence[LiveNode]) -> Text:
    states = Counter(_state(node.latest.state) for node in nodes)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return Text(f"  … {len(nodes)} more: {counts}", style="dim")


def _state(state: update_pb2.NodeState.ValueType) -> str:
    return update_pb2.NodeState.Name(state).removeprefix("NODE_STATE_").lower().replace("unspecified", "starting")


class _Columns:
    """Where things stand in the lines of one picture."""

    def __init__(self, nodes: Sequence[LiveNode], width: int) -> None:
        self._width = width
        self._wide = width >= WIDE
        self._name = _widest([node.component for node in nodes], "node")
        self._type = _widest([node.provider for node in nodes], "type") if self._wide else 0
        self._server = 0
        if self._wide and len({node.server for node in nodes}) > 1:
            self._server = _widest([node.server for node in nodes], "server")
        edges = [edge for node in nodes for edge in node.inputs]
        self._origin = _widest([_origin(edge) for edge in edges], "from", _MAX_NAME + (12 if self._wide else 0))

    def head(self) -> Text:
        """The headings of the columns."""
        return Text(
            self._line("", "node", "type", "server", "firings", "from", "items", "waiting"), "dim", no_wrap=True
        )

    def block(self, node: LiveNode) -> list[Text]:
        """The lines of a node: one for each of its inputs, and one for each detail."""
        icon, style = _sign(node)
        lines = []
        for number, edge in enumerate(node.inputs or [None]):
            own = number == 0
            firings = f"{node.latest.firings:,}" if own and node.latest.firings else ""
            text = Text(no_wrap=True, overflow="ellipsis")
            who = (icon, node.component, node.provider, node.server, firings) if own else ("", "", "", "", "")
            text.append(self._line(*who, _origin(edge) if edge else "", _items(edge), ""))
            if own:
                text.stylize(style, 0, 1)
            if edge is not None and not edge.shape.class_type:
                _append_fill(text, edge)
            if node.ended:
                text.stylize("dim", 2)
            lines.append(text)
        return lines + [self._text_line(text) for text in self._texts(node)]

    def _texts(self, node: LiveNode) -> list[Text]:
        texts = []
        if node.helper is not None:
            texts.append(Text(helper_activity(node.helper), style="cyan" if node.helper.active_calls else "dim"))
        if node.progress is not None and not node.ended:
            texts.append(_progress(node.progress))
        failed = failed_firings(node.latest)
        texts += [Text(note, style="yellow") for note in ([failed] if failed else []) + node.notes]
        if node.latest.HasField("error"):
            message = node.latest.error.message.split("\n", 1)[0]
            texts.append(Text(f"ended by: {message}", "dim") if is_secondary(node.latest) else Text(message, "red"))
        return texts

    def _text_line(self, text: Text) -> Text:
        line = Text("    ", no_wrap=True, overflow="ellipsis")
        line.append_text(text)
        line.truncate(self._width, overflow="ellipsis")
        return line

    def _line(
        self, icon: str, name: str, provider: str, server: str, firings: str, origin: str, items: str, rest: str
    ) -> str:
        parts = [set_cell_size(icon, 1), _fit(name, self._name)]
        if self._type:
            parts.append(_fit(provider, self._type))
        if self._server:
            parts.append(_fit(server, self._server))
        return " ".join([*parts, firings.rjust(9), " " + _fit(origin, self._origin), items.rjust(11), f" {rest}"])


def _sign(node: LiveNode) -> tuple[str, str]:
    """The sign of a node and its style: one that another failure has ended is shown as cancelled, an active helper as running."""
    state = node.latest.state
    if is_secondary(node.latest):
        return _SHOWN[update_pb2.NODE_STATE_CANCELLED]
    if node.helper is not None and state == update_pb2.NODE_STATE_UNSPECIFIED:
        return ("●", "green") if node.helper.active_calls else ("○", "dim")
    return _SHOWN.get(state, ("·", "dim"))


def _widest(texts: Sequence[str], head: str, limit: int = _MAX_NAME) -> int:
    return min(limit, max([cell_len(text) for text in texts] + [len(head)]))


def _fit(text: str, width: int) -> str:
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…", width)


def _origin(edge: LiveEdge) -> str:
    """The producer of an input: `chat_1 text`, or `agent_1 ⇢ llm` for a helper."""
    shape = edge.shape
    if shape.class_type:
        return f"⇢ {shape.class_type} of {shape.producer}"
    return f"{shape.producer} {LANE_NAMES.get(shape.lane_type, '')}".rstrip()


def _items(edge: LiveEdge | None) -> str:
    return f"{edge.latest.sent:,}" if edge is not None and not edge.shape.class_type else ""


def _append_fill(text: Text, edge: LiveEdge) -> None:
    """A bar of the edge's buffer, with its waiting items and its limit."""
    latest = edge.latest
    if not latest.buffered:
        if latest.growths:
            text.append(f"grown to {latest.limit_items:,}", "yellow")
        return
    eighths = max(1, round(edge.fill * _BAR * 8))
    bar = "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]
    style = "red" if edge.fill >= 0.9 else "yellow" if edge.fill >= 0.5 else "green"
    text.append(bar.ljust(_BAR, "·"), style)
    grown = " (grown)" if latest.growths else ""
    text.append(f" {latest.buffered:,} of {latest.limit_items:,}{grown}")


def _progress(progress: update_pb2.ProgressUpdate) -> Text:
    """A progress bar, the fraction, and the current activity."""
    text = Text()
    if progress.total > 0:
        fraction = min(1.0, max(0.0, progress.done / progress.total))
        filled = round(fraction * 20)
        text.append("━" * filled, "cyan").append("·" * (20 - filled), "dim")
        text.append(f" {fraction:.0%}  ")
    else:
        text.append(f"{progress.done:g}  ", "cyan")
    return text.append(progress.message.split("\n", 1)[0], "cyan")


def _output(tail: Tail, width: int, height_left: int) -> list[Text]:
    """The last lines of the output, under a rule; long lines are wrapped, and unprintable characters are dropped."""
    lines: list[str] = []
    for line in reversed(tail.last(height_left)):
        plain = "".join(character if character.isprintable() else " " for character in line.expandtabs(4))
        lines[:0] = chop_cells(plain, width) or [""]
        if len(lines) >= height_left:
            break
    if not lines:
        return []
    rule = Text("─" * width, style="dim", no_wrap=True)
    return [rule, *(Text(line, no_wrap=True, overflow="crop") for line in lines[-height_left:])]
