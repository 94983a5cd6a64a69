"""Counts and times of a run's outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanemesh.v1 import lane_pb2, update_pb2

_STREAMING = frozenset(
    (lane_pb2.LANE_TYPE_TEXT, lane_pb2.LANE_TYPE_ANSWERS, lane_pb2.LANE_TYPE_AUDIO, lane_pb2.LANE_TYPE_VIDEO)
)
"""Lanes whose items are often pieces of a whole."""


@dataclass(slots=True)
class RunStats:
    """Counts and times of one run; times are in seconds since it was running, so that loading a model is not counted."""

    clock: Callable[[], float] = time.monotonic
    """The clock."""
    started: float | None = None
    """When it was running, by the clock."""
    first: float | None = None
    """Time to the first output that carries a value."""
    total: float = 0.0
    """Time to the latest update."""
    items: int = 0
    """Outputs that carry a value."""
    pieces: int = 0
    """Those of them that are pieces of a whole."""
    tokens: int = 0
    """Number of generated tokens, if answers report their usage."""
    by_component: dict[str, int] = field(default_factory=dict)
    """Outputs by the target that they reached."""
    places: Mapping[str, str] = field(default_factory=dict)
    """The file or folder that a component writes, as its config has it, by component."""
    _edges: dict[str, update_pb2.EdgeShape] = field(default_factory=dict)
    """The edges that carry items."""
    _consumed: dict[str, int] = field(default_factory=dict)
    """Items that were taken from each edge."""

    def take(self, update: update_pb2.Update) -> None:
        """Counts an update in."""
        now = self.clock()
        is_running = update.WhichOneof("kind") == "job" and update.job.state == update_pb2.RUN_STATE_RUNNING
        if self.started is None or is_running:
            self.started = now
        if is_running:
            self._edges = {edge.edge_id: edge for edge in update.job.edges if not edge.class_type}
        self.total = now - self.started
        if update.WhichOneof("kind") == "output":
            self._output(update.output)
        elif update.WhichOneof("kind") == "edge":
            self._consumed[update.edge.edge_id] = update.edge.consumed

    def _output(self, output: update_pb2.OutputUpdate) -> None:
        item = output.item
        kind = item.WhichOneof("payload")
        if kind is None:
            return
        if kind == "answer" and item.answer.HasField("usage"):
            self.tokens += item.answer.usage.completion_tokens
        if kind == "answer" and not item.answer.text and not item.answer.data_json:
            return  # The end of an answer has the finish reason and no text.
        if self.first is None:
            self.first = self.total
        self.items += 1
        self.pieces += item.HasField("group")
        self.by_component[output.component] = self.by_component.get(output.component, 0) + 1

    @property
    def report_timing(self) -> bool:
        """Whether the times are meaningful: some output streamed, or a component has stored items."""
        return self.tokens > 0 or self.pieces > 1 or bool(self.stored)

    @property
    def stored(self) -> dict[str, str]:
        """What the last components of the pipeline took, such as `4 items`, without those that deliver to the client: by stores."""
        feeding = {edge.producer for edge in self._edges.values()}
        taken: dict[str, int] = {}
        streaming = set()
        for edge_id, edge in self._edges.items():
            if edge.consumer not in feeding and edge.consumer not in self.by_component and self._consumed.get(edge_id):
                taken[edge.consumer] = taken.get(edge.consumer, 0) + self._consumed[edge_id]
                streaming |= {edge.consumer} if edge.lane_type in _STREAMING else set()
        words = {name: "piece" if name in streaming else "item" for name in taken}
        return {name: f"{count:,} {words[name]}{'' if count == 1 else 's'}" for name, count in taken.items()}


def places_of(components: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, str]:
    """The files and folders in the configs of a document's components, by component. `settings` are those of `--set`."""
    found: dict[str, str] = {}
    for entry in components:
        name, config = entry.get("id"), entry.get("config")
        if not isinstance(name, str):
            continue
        for setting in ("path", "folder"):
            value = settings.get(f"{name}.{setting}", config.get(setting) if isinstance(config, Mapping) else None)
            if isinstance(value, str) and value and "$" not in value:
                found.setdefault(name, value)
    return found
