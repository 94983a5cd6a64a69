"""Conversion of the updates of runs from protobuf to values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from lanemesh.client.updates import (
    ApprovalState,
    ApprovalUpdate,
    EdgeShape,
    EdgeUpdate,
    HelperUpdate,
    JobUpdate,
    LogLevel,
    LogUpdate,
    NodeState,
    NodeUpdate,
    OutputUpdate,
    Placement,
    ProgressUpdate,
    RunState,
    ThoughtUpdate,
    ToolCallUpdate,
    ToolProgressUpdate,
    ToolResultUpdate,
    ToolUpdate,
    TraceUpdate,
    Update,
)
from lanemesh.codec import decode, lane_type_of
from lanemesh.faults import Fault
from lanemesh.items import Group, LaneType
from lanemesh.text_outputs import Entry, TextOutputs
from lanemesh.times import seconds_of
from lanemesh.v1 import update_pb2
from lanemesh.value_codec import decode_usage
from lanemesh.values import ToolCall

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    component, port, name = outputs.component, outputs.port, outputs.name
    for number, text in enumerate(outputs.texts, outputs.first):
        yield OutputUpdate(
            sequence=number, time=time, component=component, port=port, lane="text", value=text, name=name
        )


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
        name=output.name,
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
