"""The state that `--watch` draws: nodes, edges and the end of the output, from a run's updates. The drawing is elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.output.render import is_secondary

TAIL_LINES = 2_000
"""Maximum number of kept lines of output while a run is watched."""
TAIL_CHARACTERS = 256 * 1024
"""Maximum number of kept characters of output while a run is watched."""

_ENDED = {update_pb2.NODE_STATE_COMPLETED, update_pb2.NODE_STATE_SKIPPED, update_pb2.NODE_STATE_CANCELLED}
_URGENCY = {update_pb2.NODE_STATE_FAILED: 0, update_pb2.NODE_STATE_WAITING: 1, update_pb2.NODE_STATE_RUNNING: 2}


@dataclass(slots=True)
class LiveEdge:
    """One edge, or control connection."""

    shape: update_pb2.EdgeShape
    """Its ends."""
    latest: update_pb2.EdgeUpdate = field(default_factory=update_pb2.EdgeUpdate)
    """Its last update."""

    @property
    def fill(self) -> float:
        """How full it is, from 0 to 1."""
        limit = self.latest.limit_items
        return min(1.0, self.latest.buffered / limit) if limit else 0.0


@dataclass(slots=True)
class LiveNode:
    """One component."""

    component: str
    """Its id."""
    provider: str = ""
    """Its node type."""
    server: str = ""
    """Its node server."""
    latest: update_pb2.NodeUpdate = field(default_factory=update_pb2.NodeUpdate)
    """Its last update."""
    progress: update_pb2.ProgressUpdate | None = None
    """Its last reported progress."""
    helper: update_pb2.HelperUpdate | None = None
    """Its calls as a helper; None if it is not a helper."""
    inputs: list[LiveEdge] = field(default_factory=list)
    """The edges that lead to it; of a helper the connection to its invoker."""

    @property
    def ended(self) -> bool:
        """It has ended, and not failed, or only since something else had failed before."""
        return self.latest.state in _ENDED or is_secondary(self.latest)

    @property
    def notes(self) -> list[str]:
        """The details of the node and its inputs, as texts."""
        details = [self.latest.detail] if self.latest.detail else []
        return details + [edge.latest.detail for edge in self.inputs if edge.latest.detail]


class LiveModel:
    """The state of a run, from its updates."""

    def __init__(self) -> None:
        self.run_id = ""
        self.state: update_pb2.RunState.ValueType = update_pb2.RUN_STATE_UNSPECIFIED
        self.nodes: dict[str, LiveNode] = {}
        """The components, each after those that feed it where that can be."""
        self.edges: dict[str, LiveEdge] = {}
        """The edges by their ids."""

    def take(self, update: update_pb2.Update) -> None:
        """Takes in an update."""
        match update.WhichOneof("kind"):
            case "job":
                self.run_id, self.state = update.job.run_id or self.run_id, update.job.state
                if update.job.placements:
                    self._lay_out(update.job)
            case "node":
                node = self._node(update.node.component)
                node.latest = update.node
                if update.node.HasField("placement"):
                    node.server = update.node.placement.server
            case "edge" if update.edge.edge_id in self.edges:
                self.edges[update.edge.edge_id].latest = update.edge
            case "progress":
                self._node(update.progress.component).progress = update.progress
            case "helper":
                self._node(update.helper.component).helper = update.helper

    def _node(self, component: str) -> LiveNode:
        return self.nodes.setdefault(component, LiveNode(component))

    def _lay_out(self, job: update_pb2.JobUpdate) -> None:
        known = self.nodes
        places = {place.component: place for place in job.placements}
        self.nodes = {}
        for component in in_order(places, job.edges):
            node = self.nodes[component] = known.get(component) or LiveNode(component)
            node.provider, node.server = places[component].provider, places[component].server
        for shape in job.edges:
            edge = LiveEdge(shape)
            end = shape.consumer
            if not shape.class_type:
                self.edges[shape.edge_id] = edge
            if end in self.nodes:
                node = self.nodes[end]
                node.inputs.append(edge)
                if shape.class_type and node.helper is None:
                    node.helper = update_pb2.HelperUpdate(component=end)


def in_order(components: Iterable[str], edges: Sequence[update_pb2.EdgeShape]) -> list[str]:
    """Components in the order in which items flow; a helper follows its invoker."""
    waiting = {component: set[str]() for component in components}
    for edge in edges:
        if edge.consumer in waiting and edge.producer in waiting:
            waiting[edge.consumer].add(edge.producer)
    ordered: list[str] = []
    while waiting:
        ready = [component for component, before in waiting.items() if not before] or [next(iter(waiting))]
        component = ready[0]
        del waiting[component]
        ordered.append(component)
        for before in waiting.values():
            before.discard(component)
    return ordered


def chosen(nodes: Sequence[LiveNode], heights: Sequence[int], height: int) -> list[LiveNode]:
    """The nodes that are shown in this many lines, in their order: failed ones first, then those that wait, run, start, and
    have ended. At least one is shown."""
    if sum(heights) <= height:
        return list(nodes)
    by_urgency = sorted(range(len(nodes)), key=lambda number: _urgency(nodes[number]))
    shown: set[int] = set()
    for number in by_urgency:
        if heights[number] <= height or not shown:
            shown.add(number)
            height -= heights[number]
    return [node for number, node in enumerate(nodes) if number in shown]


def _urgency(node: LiveNode) -> int:
    return _URGENCY.get(node.latest.state, 4 if node.ended else 3)


class Tail:
    """The end of a run's output, within a bound."""

    def __init__(self, max_lines: int = TAIL_LINES, max_characters: int = TAIL_CHARACTERS) -> None:
        self.dropped = 0
        """Lines that are no longer kept."""
        self._lines: deque[str] = deque()
        self._open = ""
        """The last line, which has not ended yet."""
        self._characters = 0
        self._max_lines = max_lines
        self._max_characters = max_characters

    def add(self, text: str) -> None:
        """Adds text; of one line that is longer than everything may be, the end is kept."""
        *whole, self._open = (self._open + text).split("\n")
        self._open = self._open[-self._max_characters :]
        for line in whole:
            self._lines.append(line)
            self._characters += len(line)
        while self._lines and (len(self._lines) > self._max_lines or self._characters > self._max_characters):
            self._characters -= len(self._lines.popleft())
            self.dropped += 1

    def last(self, lines: int) -> list[str]:
        """The last lines, the open one among them."""
        kept = [*self._lines, self._open] if self._open else list(self._lines)
        return kept[-lines:] if lines > 0 else []

    @property
    def text(self) -> str:
        """All that is kept."""
        return "".join(f"{line}\n" for line in self._lines) + self._open
