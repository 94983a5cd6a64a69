"""Updates of runs as frozen values: `match` on their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lanemesh.faults import Fault
from lanemesh.items import Group
from lanemesh.v1 import update_pb2
from lanemesh.values import ToolCall, Usage


class RunState(StrEnum):
    """The state of a run. It compares and prints as its name."""

    STARTING = "starting"
    """It is being placed and connected."""
    RUNNING = "running"
    """It has started."""
    COMPLETED = "completed"
    """Every node has ended without a failure. Terminal."""
    FAILED = "failed"
    """A node, a server or the orchestrator failed. Terminal."""
    CANCELLED = "cancelled"
    """It was cancelled. Terminal."""

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return self in _TERMINAL

    @property
    def wire(self) -> update_pb2.RunState.ValueType:
        """The state as a protobuf value."""
        return update_pb2.RunState.Value(f"RUN_STATE_{self.name}")

    @classmethod
    def from_wire(cls, wire: update_pb2.RunState.ValueType) -> RunState:
        """The state of a protobuf value. An unspecified one is `STARTING`. Raises ValueError for an unknown number."""
        return _RUN_STATES[wire] if wire else cls.STARTING


_TERMINAL = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED})
_RUN_STATES = {state.wire: state for state in RunState}


class NodeState(StrEnum):
    """The state of a node in a run."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    """It waits for an event other than its inputs, such as a lease."""
    COMPLETED = "completed"
    SKIPPED = "skipped"
    """It never fired, because a required input ended without an item."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class ApprovalState(StrEnum):
    """The state of an approval."""

    REQUESTED = "requested"
    """A component waits for the decision of a client."""
    APPROVED = "approved"
    REFUSED = "refused"
    """A client has refused it, or its deadline has passed."""
    WITHDRAWN = "withdrawn"
    """The component waits no longer: it, its server or the run has ended, or it has abandoned the call."""


class LogLevel(StrEnum):
    """The level of a log line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The placement of a component."""

    component: str
    provider: str
    """Its node type."""
    server: str
    """Name of its node server."""
    address: str = ""
    """Address of its node server; empty if the component runs in the orchestrator."""
    pid: int = 0
    """Process id of its node server, on the server's own machine."""
    earlier: tuple[Placement, ...] = ()
    """Its earlier placements on node servers that were lost, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeShape:
    """One edge or control connection of a run's graph."""

    edge: str
    """Unique within the run."""
    producer: str
    output: str
    consumer: str
    input: str
    lane: str = ""
    """Type of its items; empty for a control connection."""
    class_type: str = ""
    """Of a control connection: the kind of helper, such as "llm"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """An event in a run."""

    sequence: int
    """Number within the run, from 1 and without gaps."""
    time: datetime
    """The time of the event, in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate(Update):
    """The run's state changed. The one with a terminal state is the run's last update."""

    run_id: str
    state: RunState
    error: Fault | None = None
    """If it failed: the first primary cause."""
    reason: str = ""
    """If it was cancelled: the reason."""
    placements: tuple[Placement, ...] = ()
    """With `running`: the placement of each component."""
    edges: tuple[EdgeShape, ...] = ()
    """With `running`: the graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUpdate(Update):
    """A node's state changed."""

    component: str
    state: NodeState
    detail: str = ""
    """The present wait, or the reason of a skip."""
    error: Fault | None = None
    firings: int = 0
    """Firings so far."""
    skipped_firings: int = 0
    """Firings that failed and were skipped."""
    retried_firings: int = 0
    """Further attempts at failed firings."""
    waiting: float = 0.0
    """Seconds that it has waited so far: for items, for other firings of its own, or for something outside the run."""
    busy: float = 0.0
    """Seconds that it has worked so far."""
    blocked: float = 0.0
    """Seconds that it has waited so far for capacity on its lanes."""
    placement: Placement | None = None
    """With `starting`, if its node server was lost and it is placed again: its new placement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperUpdate(Update):
    """The activity so far of a helper, a component that serves control connections."""

    component: str
    calls: int
    """Calls that it received."""
    active_calls: int = 0
    """Calls that it is answering now."""
    failed_calls: int = 0
    """Calls that ended with an error."""
    usage: Usage | None = None
    """Total tokens of its answers; None if none were reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeUpdate(Update):
    """The latest state of an edge; at most ten a second per edge, and one at its end."""

    edge: str
    sent: int = 0
    """Items that the producer has emitted."""
    consumed: int = 0
    """Items that the consumer's node has taken."""
    buffered: int = 0
    """Waiting items."""
    drained: bool = False
    """It has ended and no item waits."""
    limit_items: int = 0
    growths: int = 0
    """How often its limits were raised to resolve a deadlock."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputUpdate(Update):
    """A value reached a target."""

    component: str
    """The target, such as "response_1"."""
    port: str
    """Its input."""
    lane: str
    """Type of the value, such as "text"."""
    value: Any
    """The value, of the Python type of its lane."""
    group: Group | None = None
    """The whole to which it belongs, if it is a piece."""
    metadata: Mapping[str, str] | None = None
    created_at: datetime | None = None
    name: str = ""
    """The name of the result that it belongs to, as the config of the target has it; empty: the target itself."""

    @property
    def key(self) -> str:
        """The name of the result, or else the target."""
        return self.name or self.component

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressUpdate(Update):
    """A node reported progress."""

    component: str
    done: float
    """The amount done, in a unit that the node chooses."""
    total: float = 0
    """The total amount; 0 if unknown."""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUpdate(Update):
    """An action of an agent. Its kinds are `ThoughtUpdate`, `ToolCallUpdate`, `ToolProgressUpdate`, `ToolResultUpdate`."""

    component: str
    """The agent."""
    wave: int
    """Round of the agent's loop, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtUpdate(ToolUpdate):
    """The text of the model before or beside its tool calls."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallUpdate(ToolUpdate):
    """The agent calls a tool."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgressUpdate(ToolUpdate):
    """A tool reports progress."""

    call_id: str
    message: str
    fraction: float | None = None
    """The fraction done, from 0 to 1; None if unknown."""
    usage: Usage | None = None
    """What the tool has used so far, if it has models; None if it does not count it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResultUpdate(ToolUpdate):
    """A tool has answered."""

    call_id: str
    name: str
    content: str
    """The result: JSON text."""
    is_error: bool = False
    """The tool failed; the content has the error."""
    seconds: float = 0.0
    """Duration of the call."""
    usage: Usage | None = None
    """What the tool used, if it has models, such as an agent; None if it does not count it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalUpdate(Update):
    """An approval was requested, or decided. Answer a requested one by `run.approve(call_id)` or `run.refuse(call_id, reason)`."""

    component: str
    """The component that waits."""
    call_id: str
    """Identifies the approval within the component and the run."""
    state: ApprovalState
    tool: str = ""
    """The tool that is to be called; empty if the approval is for something else."""
    description: str = ""
    """What is to be approved, in words."""
    arguments: str = ""
    """With `requested`: the arguments of the call as JSON text, without secrets. Of more than 4,000 characters the first 4,000,
    then "... (N more characters)", which is no JSON."""
    omitted_characters: int = 0
    """With `requested`: the number of characters at the end of the arguments that are left out."""
    deadline: datetime | None = None
    """With `requested`: when it is refused without a decision, in UTC."""
    reason: str = ""
    """With `refused`: why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogUpdate(Update):
    """A node logged a line."""

    component: str
    level: LogLevel
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceUpdate(Update):
    """An item has reached a node; sent at the trace levels above none."""

    edge: str
    number: int
    """Its position on the lane, from 0."""
    lane: str
    """Type of its value; empty if this update only counts items that were left out."""
    size_bytes: int
    group: Group | None = None
    summary: str = ""
    """From the level summary on: the first 200 characters of its value; for bytes, a description."""
    value: Any = None
    """At the level full: the value, unless it is larger than 1 MiB."""
    left_out: int = 0
    """Number of items of this edge directly before this one that were left out, because the reader was behind."""
