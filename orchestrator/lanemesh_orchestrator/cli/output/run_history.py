"""Summary of the updates of a run: inputs, nodes with their times, helpers, edges, logs and calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lanemesh.times import seconds_of
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.output.render import (
    approval_line,
    helper_line,
    is_secondary,
    log_lines,
    tool_lines,
    trace_line,
)
from lanemesh_orchestrator.pipeline.drawing import draw_shapes
from lanemesh_orchestrator.update_json import (
    approval_json,
    edge_json,
    helper_json,
    input_json,
    node_json,
    placement_json,
    to_json,
    trace_json,
)

MAX_EVENTS = 200
"""Maximum number of kept log messages and tool calls of one run; the latest."""


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
        at = seconds_of(update.time)
        if self.latest is not None:
            name = _node_state(self.latest)
            self.spent[name] = self.spent.get(name, 0.0) + max(0.0, at - self.since)
        self.latest, self.since = update.node, at

    def line(self, component: str) -> str:
        """`llm_1 completed: 3 firings, running 1.20 s (busy 0.90 s, waiting 0.30 s)`. A node that failed is marked with ✗; one that
        another failure has ended counts as cancelled."""
        assert self.latest is not None, "made by the first update"
        ended_by_other = is_secondary(self.latest)
        mark = "✗ " if self.latest.state == update_pb2.NODE_STATE_FAILED and not ended_by_other else ""
        parts = (
            [f"{self.latest.firings:,} firing{'' if self.latest.firings == 1 else 's'}"] if self.latest.firings else []
        )
        parts += [f"{state} {seconds:.2f} s" + self._split(state) for state, seconds in self.spent.items()]
        detail = self.latest.error.message if self.latest.HasField("error") else self.latest.detail
        parts += [f"{'ended by: ' if ended_by_other else ''}{' '.join(detail.split())}"] if detail else []
        head = f"{mark}{component} {'cancelled' if ended_by_other else _node_state(self.latest)}"
        return f"{head}: {', '.join(parts)}" if parts else head

    def _split(self, state: str) -> str:
        if state != "running" or self.latest is None:
            return ""
        spent = {"busy": self.latest.busy, "waiting": self.latest.waiting, "blocked": self.latest.blocked}
        parts = [f"{name} {seconds_of(seconds):.2f} s" for name, seconds in spent.items() if seconds.ToNanoseconds()]
        return f" ({', '.join(parts)})" if parts else ""

    def as_json(self) -> dict[str, Any]:
        """The latest update as in `--json`, with `seconds` by state."""
        assert self.latest is not None, "made by the first update"
        return node_json(self.latest) | {"seconds": {state: round(spent, 6) for state, spent in self.spent.items()}}


@dataclass(slots=True)
class RunHistory:
    """The placements of a run, the work of its components, and the items of its edges."""

    placements: Sequence[update_pb2.Placement] = ()
    edges: Sequence[update_pb2.EdgeShape] = ()
    latest: dict[str, update_pb2.EdgeUpdate] = field(default_factory=dict)
    """The latest update of each edge."""
    nodes: dict[str, NodeTimes] = field(default_factory=dict)
    """States and times of each node."""
    job: update_pb2.JobUpdate = field(default_factory=update_pb2.JobUpdate)
    """The latest update of the run that has its inputs."""
    helpers: dict[str, update_pb2.HelperUpdate] = field(default_factory=dict)
    """The latest update of each helper."""
    traces: deque[update_pb2.TraceUpdate] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """The latest requests and answers of control connections, where they were traced."""
    events: deque[update_pb2.Update] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """The latest log messages and tool calls."""
    approvals: dict[tuple[str, str], update_pb2.ApprovalUpdate] = field(default_factory=dict)
    """The approvals that are pending, by component and id."""
    event_count: int = 0
    """Log messages and tool calls in all."""
    _controls: set[str] = field(default_factory=set)

    def take(self, update: update_pb2.Update) -> None:
        """Takes in an update."""
        kind = update.WhichOneof("kind")
        if kind == "edge":
            self.latest[update.edge.edge_id] = update.edge
        elif kind == "node":
            self.nodes.setdefault(update.node.component, NodeTimes()).take(update)
            if update.node.HasField("placement"):
                self._place_again(update.node.placement)
        elif kind in ("log", "tool", "approval"):
            if kind == "approval":
                self._take_approval(update.approval)
            self.events.append(update)
            self.event_count += 1
        elif kind == "helper":
            self.helpers[update.helper.component] = update.helper
        elif kind == "trace":
            if update.trace.edge_id in self._controls:
                self.traces.append(update.trace)
        elif kind == "job":
            if update.job.input_count:
                self.job = update.job
            if update.job.placements:
                self.placements, self.edges = update.job.placements, update.job.edges
                self._controls = {edge.edge_id for edge in self.edges if edge.class_type}

    def _take_approval(self, approval: update_pb2.ApprovalUpdate) -> None:
        key = approval.component, approval.call_id
        if approval.state == update_pb2.APPROVAL_STATE_REQUESTED:
            self.approvals[key] = approval
        else:
            self.approvals.pop(key, None)

    def _place_again(self, placement: update_pb2.Placement) -> None:
        self.placements = [placement if place.component == placement.component else place for place in self.placements]

    def lines(self) -> list[str]:
        """The graph, its servers and its edges, for people."""
        if not self.placements:
            return []
        lines = [draw_shapes(self.edges, [place.component for place in self.placements]), ""]
        lines += [_placement_line(place) for place in self.placements]
        lines += self._input_lines()
        lines += [times.line(component) for component, times in self.nodes.items()]
        lines += [helper_line(helper) for helper in self.helpers.values()]
        lines += [f"{edge.edge_id}: {edge.sent:,} sent, {edge.consumed:,} taken" for edge in self.latest.values()]
        if self.events:
            left_out = self.event_count - len(self.events)
            lines += ["", *([f"{left_out:,} earlier logs and tool calls: --updates prints them"] if left_out else [])]
            lines += [line for line in map(_event_lines, self.events) if line]
        if self.traces:
            lines += ["", *map(trace_line, self.traces)]
        if self.approvals:
            lines += ["", *map(approval_line, self.approvals.values())]
            lines += ["`lanemesh approve RUN CALL` or `lanemesh refuse RUN CALL` decides."]
        return lines

    def _input_lines(self) -> list[str]:
        count = self.job.input_count
        shown = [f"input {number}: {' '.join(one.summary.split())}" for number, one in enumerate(self.job.inputs, 1)]
        rest = count - len(shown)
        return [*shown, f"{rest:,} further input{'' if rest == 1 else 's'}"] if rest else shown

    def as_json(self) -> dict[str, Any]:
        """The same parts as JSON."""
        return {
            "placements": [placement_json(place) for place in self.placements],
            "nodes": [times.as_json() for times in self.nodes.values()],
            "input_count": self.job.input_count,
            "inputs": [input_json(one) for one in self.job.inputs],
            "helpers": [helper_json(helper) for helper in self.helpers.values()],
            "calls": [trace_json(trace) for trace in self.traces],
            "edges": [edge_json(edge) for edge in self.latest.values()],
            "events": [to_json(event) for event in self.events],
            "event_count": self.event_count,
            "approvals": [approval_json(approval) for approval in self.approvals.values()],
        }


def _placement_line(place: update_pb2.Placement) -> str:
    """Where a component ran, and on which servers before, which were lost."""
    before = f", before in {', '.join(earlier.server for earlier in place.earlier)}" if place.earlier else ""
    return f"{place.component} ({place.provider}) ran in {place.server}{before}"


def _event_lines(update: update_pb2.Update) -> str:
    match update.WhichOneof("kind"):
        case "log":
            return log_lines(update.log)
        case "approval":
            return approval_line(update.approval)
    return tool_lines(update.tool)


def _node_state(node: update_pb2.NodeUpdate) -> str:
    return update_pb2.NodeState.Name(node.state).removeprefix("NODE_STATE_").lower()
