"""Updates of runs as frozen values, and their conversion from protobuf: `match` on their types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from lanemesh.codec import decode, decode_usage, lane_type_of
from lanemesh.faults import Fault
from lanemesh.items import Group, LaneType
from lanemesh.text_outputs import Entry, TextOutputs
from lanemesh.times import seconds_of
from lanemesh.v1 import update_pb2
from lanemesh.values import ToolCall, Usage

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def from_wire(update: update_pb2.Update) -> Update | None:
    """The value of an update.

    Returns None for a kind that this version does not support, and for an output without a value, which only ends a group.
    """
    kind = update.WhichOneof("kind")
    if kind is None or kind not in _READ:
        return None
    return _READ[kind](update, {"sequence": update.sequence, "time": update.time.ToDatetime(UTC)})


def from_entry(entry: Entry) -> Iterator[Update]:
    """The values of an entry, without those of kinds that `from_wire` leaves out."""
    if isinstance(entry, TextOutputs):
        yield from outputs_of(entry)
        return
    value = from_wire(entry)
    if value is not None:
        yield value


def outputs_of(outputs: TextOutputs) -> Iterator[OutputUpdate]:
    """The values of text outputs."""
    time = EPOCH + timedelta(microseconds=outputs.time // 1000)
    component, port = outputs.component, outputs.port
    for number, text in enumerate(outputs.texts, outputs.first):
        yield OutputUpdate(sequence=number, time=time, component=component, port=port, lane="text", value=text)


def placement_from_wire(one: update_pb2.Placement) -> Placement:
    """The value of a placement."""
    return Placement(
        component=one.component,
        provider=one.provider,
        server=one.server,
        address=one.address,
        pid=one.pid,
        earlier=tuple(map(placement_from_wire, one.earlier)),
    )


def _job(update: update_pb2.Update, base: dict[str, Any]) -> JobUpdate:
    job = update.job
    return JobUpdate(
        **base,
        run_id=job.run_id,
        state=RunState.from_wire(job.state),
        error=Fault.from_proto(job.error) if job.HasField("error") else None,
        reason=job.reason,
        placements=tuple(map(placement_from_wire, job.placements)),
        edges=tuple(
            EdgeShape(
                edge=one.edge_id,
                producer=one.producer,
                output=one.output,
                consumer=one.consumer,
                input=one.input,
                lane=lane_name(one.lane_type),
                class_type=one.class_type,
            )
            for one in job.edges
        ),
    )


def _node(update: update_pb2.Update, base: dict[str, Any]) -> NodeUpdate:
    node = update.node
    state = update_pb2.NodeState.Name(node.state).removeprefix("NODE_STATE_")
    return NodeUpdate(
        **base,
        component=node.component,
        state=NodeState[state] if node.state else NodeState.STARTING,
        detail=node.detail,
        error=Fault.from_proto(node.error) if node.HasField("error") else None,
        firings=node.firings,
        skipped_firings=node.skipped_firings,
        retried_firings=node.retried_firings,
        waiting=seconds_of(node.waiting),
        busy=seconds_of(node.busy),
        blocked=seconds_of(node.blocked),
        placement=placement_from_wire(node.placement) if node.HasField("placement") else None,
    )


def _helper(update: update_pb2.Update, base: dict[str, Any]) -> HelperUpdate:
    helper = update.helper
    usage = decode_usage(helper.usage) if helper.HasField("usage") else None
    return HelperUpdate(
        **base,
        component=helper.component,
        calls=helper.calls,
        active_calls=helper.active_calls,
        failed_calls=helper.failed_calls,
        usage=usage,
    )


def _edge(update: update_pb2.Update, base: dict[str, Any]) -> EdgeUpdate:
    edge = update.edge
    return EdgeUpdate(
        **base,
        edge=edge.edge_id,
        sent=edge.sent,
        consumed=edge.consumed,
        buffered=edge.buffered,
        drained=edge.drained,
        limit_items=edge.limit_items,
        growths=edge.growths,
        detail=edge.detail,
    )


def _output(update: update_pb2.Update, base: dict[str, Any]) -> OutputUpdate | None:
    output = update.output
    if output.item.WhichOneof("payload") is None:
        return None
    lane = lane_type_of(output.item)
    item = decode(lane, output.item)
    envelope = item.envelope
    return OutputUpdate(
        **base,
        component=output.component,
        port=output.port,
        lane=lane.value,
        value=item.value,
        group=envelope.group if envelope else None,
        metadata=envelope.metadata if envelope else None,
        created_at=envelope.created_at if envelope else None,
    )


def _progress(update: update_pb2.Update, base: dict[str, Any]) -> ProgressUpdate:
    progress = update.progress
    return ProgressUpdate(
        **base,
        component=progress.component,
        done=progress.done,
        total=progress.total,
        message=progress.message,
    )


def _tool(update: update_pb2.Update, base: dict[str, Any]) -> ToolUpdate | None:
    tool = update.tool
    base = {**base, "component": tool.component, "wave": tool.wave}
    match tool.WhichOneof("event"):
        case "thought":
            return ThoughtUpdate(**base, text=tool.thought)
        case "call":
            call = ToolCall(id=tool.call.id, name=tool.call.name, arguments=tool.call.arguments_json)
            return ToolCallUpdate(**base, call=call)
        case "progress":
            progress = tool.progress
            fraction = progress.fraction if progress.HasField("fraction") else None
            return ToolProgressUpdate(
                **base,
                call_id=progress.call_id,
                message=progress.message,
                fraction=fraction,
                usage=decode_usage(progress.usage) if progress.HasField("usage") else None,
            )
        case "result":
            result = tool.result
            return ToolResultUpdate(
                **base,
                call_id=result.call_id,
                name=result.name,
                content=result.content_json,
                is_error=result.is_error,
                seconds=seconds_of(result.duration),
                usage=decode_usage(result.usage) if result.HasField("usage") else None,
            )
    return None


def approval_from_wire(approval: update_pb2.ApprovalUpdate, **base: Any) -> ApprovalUpdate:
    """The value of an approval. Raises ValueError for an unknown state."""
    state = update_pb2.ApprovalState.Name(approval.state).removeprefix("APPROVAL_STATE_")
    return ApprovalUpdate(
        **base,
        component=approval.component,
        call_id=approval.call_id,
        state=ApprovalState[state] if approval.state else ApprovalState.REQUESTED,
        tool=approval.tool,
        description=approval.description,
        arguments=approval.arguments_json,
        omitted_characters=approval.omitted_characters,
        deadline=approval.deadline.ToDatetime(UTC) if approval.HasField("deadline") else None,
        reason=approval.reason,
    )


def _approval(update: update_pb2.Update, base: dict[str, Any]) -> ApprovalUpdate:
    return approval_from_wire(update.approval, **base)


def _log(update: update_pb2.Update, base: dict[str, Any]) -> LogUpdate:
    line = update.log
    level = update_pb2.LogLevel.Name(line.level).removeprefix("LOG_LEVEL_")
    return LogUpdate(
        **base,
        component=line.component,
        level=LogLevel[level] if line.level else LogLevel.INFO,
        message=line.message,
    )


def _trace(update: update_pb2.Update, base: dict[str, Any]) -> TraceUpdate:
    trace = update.trace
    value, group = None, None
    if trace.HasField("item") and trace.item.WhichOneof("payload") is not None:
        value = decode(lane_type_of(trace.item), trace.item).value
    if trace.HasField("group"):
        group = Group(trace.group.id, trace.group.index, trace.group.last)
    return TraceUpdate(
        **base,
        edge=trace.edge_id,
        number=trace.number,
        lane=lane_name(trace.lane_type),
        size_bytes=trace.size_bytes,
        group=group,
        summary=trace.summary,
        value=value,
        left_out=trace.left_out,
    )


def lane_name(wire: int) -> str:
    """The name of a lane type of the protocol; empty if it is unspecified. Raises ValueError if it is unknown."""
    return LaneType.from_wire(wire).value if wire else ""


_READ: dict[str, Callable[[update_pb2.Update, dict[str, Any]], Update | None]] = {
    "job": _job,
    "node": _node,
    "edge": _edge,
    "output": _output,
    "progress": _progress,
    "tool": _tool,
    "approval": _approval,
    "log": _log,
    "trace": _trace,
    "helper": _helper,
}
