"""Counts and times of a run's outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lanemesh.v1 import update_pb2


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

    def take(self, update: update_pb2.Update) -> None:
        """Counts an update in."""
        now = self.clock()
        is_running = update.WhichOneof("kind") == "job" and update.job.state == update_pb2.RUN_STATE_RUNNING
        if self.started is None or is_running:
            self.started = now
        self.total = now - self.started
        if update.WhichOneof("kind") == "output":
            self._output(update.output)

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
        """Whether the times are meaningful: some output streamed."""
        return self.tokens > 0 or self.pieces > 1
