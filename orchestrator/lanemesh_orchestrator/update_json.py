"""Updates as flat JSON objects: the lines of `--json`, and the events of the gateway.

Every object has `sequence` (from 1, without gaps), `time` (RFC 3339, UTC) and `update`, its kind. By kind:

| update | further fields |
|---|---|
| `job` | `run_id`, `state`: starting, running, completed, failed or cancelled; with running `placements` (`component`, `provider`, `server`, `address`, `pid`, `earlier`) and `edges` (`edge`, `producer`, `output`, `consumer`, `input`, `lane`; for a control connection `class_type`); if failed `error`; if cancelled `reason`; with running and in the end `input_count`, and of the first ten `inputs` `port`, `lane`, `size`, `summary` |
| `node` | `component`, `state`: starting, running, waiting, completed, skipped, failed or cancelled; `detail`, `firings`, `skipped_firings`, `retried_firings`; seconds `waiting`, `busy`, `blocked`; if failed `error` |
| `edge` | `edge`, `sent`, `consumed`, `buffered`, `drained`, `limit_items`, `growths`, `detail` |
| `output` | `component`, `port`, `name` if its result has one, `lane`, `value`; of a piece of a whole `group`, `index`, `last`, and `outcome` if it ended badly; `metadata`, `created_at` |
| `progress` | `component`, `done`, `total`, `message` |
| `tool` | `component`, `wave`, `event`: thought (`text`), call (`call_id`, `tool`, `arguments`), result (`call_id`, `tool`, `content`, `is_error`, `seconds`, `usage`) or progress (`call_id`, `message`, `fraction`, `usage`) |
| `helper` | `component`, `calls`, `active_calls`, `failed_calls`, `prompt_tokens`, `completion_tokens`, `cost` |
| `log` | `component`, `level`: debug, info, warning or error; `message` |
| `trace` | `edge`, `number`, `lane`, `size`; of a piece of a whole `group`, `index`, `last`; `summary`, `value`, by the level; `left_out` |

An `error` has `code` (a gRPC status code's name), `reason`, `message`, `details` and, where user code raised, `traceback`; that of
a node has `secondary`: true if something else had failed before. The `value` of an output is by lane: text is a string; an answer
has `text`, `data`, `finish_reason`, `usage`, `tool_calls` (`id`, `name`, `arguments`); a document its fields, of which `file` is media; a table `columns` and `rows`; tags and data are the JSON value;
media has `mime_type`, `bytes`, and `uri`, or `content` in base64, or `file` where `--output` wrote it. Empty fields are omitted.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from lanemesh.client.sessions import SessionInfo, Turn
from lanemesh.codec import encode, make_item
from lanemesh.faults import Fault
from lanemesh.items import LaneType
from lanemesh.times import seconds_of
from lanemesh.v1 import fault_pb2, lane_pb2, update_pb2

from lanemesh_orchestrator.item_json import Flat, loads_or_text, present, usage_json, value_json


def to_json(update: update_pb2.Update, *, file: str = "") -> Flat:
    """An update as a flat JSON object."""
    kind = update.WhichOneof("kind") or "unknown"
    flat: Flat = {"sequence": update.sequence, "time": timestamp_json(update.time), "update": kind}
    if kind == "output":
        return flat | _output(update.output, file)
    return flat | _KINDS[kind](getattr(update, kind)) if kind in _KINDS else flat


def error_json(error: fault_pb2.Fault) -> Flat:
    """The error of a job or a node."""
    return fault_json(Fault.from_proto(error))


def fault_json(fault: Fault) -> Flat:
    """A fault."""
    flat = {"code": fault.code.name, "reason": fault.reason, "message": fault.message, "details": dict(fault.details)}
    return flat | present(secondary=fault.secondary or None, traceback=fault.traceback)


def time_json(time: datetime) -> str:
    """A time in UTC, as RFC 3339."""
    return time.isoformat().replace("+00:00", "Z")


def timestamp_json(time: Timestamp) -> str:
    """A time of the wire as RFC 3339, with 0, 3, 6 or 9 digits of a second, as protobuf's JSON has them, but quicker."""
    nanos = time.nanos
    if not nanos:
        return f"{_second(time.seconds)}Z"
    if nanos % 1_000:
        return f"{_second(time.seconds)}.{nanos:09d}Z"
    if nanos % 1_000_000:
        return f"{_second(time.seconds)}.{nanos // 1_000:06d}Z"
    return f"{_second(time.seconds)}.{nanos // 1_000_000:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """A whole second since 1970, without a zone. Updates that are near each other have the same one."""
    return Timestamp(seconds=seconds).ToJsonString().removesuffix("Z")


@lru_cache(maxsize=1024)
def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


@lru_cache(maxsize=64)
def node_state_json(state: update_pb2.NodeState.ValueType) -> str:
    """The state of a node, such as "running"."""
    return _word(update_pb2.NodeState.Name(state), "NODE_STATE_")


@lru_cache(maxsize=64)
def run_state_json(state: update_pb2.RunState.ValueType) -> str:
    """The state of a run, such as "running"."""
    return _word(update_pb2.RunState.Name(state), "RUN_STATE_")


@lru_cache(maxsize=64)
def lane_json(lane: lane_pb2.LaneType.ValueType) -> str:
    """The type of a lane, such as "text"."""
    return _word(lane_pb2.LaneType.Name(lane), "LANE_TYPE_")


def _job(job: update_pb2.JobUpdate) -> Flat:
    return {
        "run_id": job.run_id,
        "state": run_state_json(job.state),
        **present(
            error=error_json(job.error) if job.HasField("error") else None,
            reason=job.reason,
            placements=[placement_json(place) for place in job.placements],
            edges=[edge_shape_json(edge) for edge in job.edges],
            input_count=job.input_count or None,
            inputs=[input_json(one) for one in job.inputs],
        ),
    }


def input_json(given: update_pb2.InputSummary) -> Flat:
    """Summary of an input of the client."""
    lane = lane_json(given.lane_type)
    return {**present(port=given.port), "lane": lane, "size": given.size_bytes, "summary": given.summary}


def helper_json(helper: update_pb2.HelperUpdate) -> Flat:
    """The calls of a helper."""
    usage = helper.usage if helper.HasField("usage") else None
    return {
        "component": helper.component,
        "calls": helper.calls,
        **present(
            active_calls=helper.active_calls or None,
            failed_calls=helper.failed_calls or None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            cost=usage.cost if usage and usage.HasField("cost") else None,
        ),
    }


def placement_json(place: update_pb2.Placement) -> Flat:
    """The server of a component."""
    flat: Flat = {"component": place.component, "provider": place.provider, "server": place.server}
    if place.address:
        flat["address"] = place.address
    flat["pid"] = place.pid
    if place.earlier:
        flat["earlier"] = [placement_json(before) for before in place.earlier]
    return flat


def edge_shape_json(edge: update_pb2.EdgeShape) -> Flat:
    """The ends of an edge."""
    flat = {"edge": edge.edge_id, "producer": edge.producer, "output": edge.output, "consumer": edge.consumer}
    if edge.class_type:
        return {
            **present(edge=edge.edge_id),
            "producer": edge.producer,
            "consumer": edge.consumer,
            "class_type": edge.class_type,
        }
    return flat | {"input": edge.input, "lane": lane_json(edge.lane_type)}


def node_json(node: update_pb2.NodeUpdate) -> Flat:
    """The state of a node."""
    state = node_state_json(node.state)
    error = error_json(node.error) if node.HasField("error") else None
    return {
        "component": node.component,
        "state": state,
        "firings": node.firings,
        **present(
            skipped_firings=node.skipped_firings or None,
            retried_firings=node.retried_firings or None,
            waiting=_spent(node.waiting),
            busy=_spent(node.busy),
            blocked=_spent(node.blocked),
            detail=node.detail,
            placement=placement_json(node.placement) if node.HasField("placement") else None,
            error=error,
        ),
    }


def _spent(duration: Duration) -> float | None:
    return round(seconds_of(duration), 6) or None


def edge_json(edge: update_pb2.EdgeUpdate) -> Flat:
    """The state of an edge."""
    return {
        "edge": edge.edge_id,
        "sent": edge.sent,
        "consumed": edge.consumed,
        "buffered": edge.buffered,
        "drained": edge.drained,
        "limit_items": edge.limit_items,
        **present(growths=edge.growths or None, detail=edge.detail),
    }


def _output(output: update_pb2.OutputUpdate, file: str) -> Flat:
    item = output.item
    flat: Flat = {"component": output.component, "port": output.port, **present(name=output.name)}
    field = item.WhichOneof("payload")
    if field is not None:
        flat |= {"lane": _LANES.get(field, field), "value": value_json(item, file=file)}
    if item.HasField("group"):
        flat |= _group(item.group)
    created = timestamp_json(item.created_at) if item.HasField("created_at") else ""
    return flat | present(metadata=dict(item.metadata), created_at=created)


def _group(group: lane_pb2.Group) -> Flat:
    flat: Flat = {"group": group.id, "index": group.index, "last": group.last}
    if group.outcome:
        flat["outcome"] = _word(lane_pb2.GroupOutcome.Name(group.outcome), "GROUP_OUTCOME_")
    return flat


_LANES = {
    "question": "questions",
    "answer": "answers",
    "document": "documents",
    "tags_json": "tags",
    "data_json": "data",
}
"""Payload fields that are not called like their lane."""


def _progress(progress: update_pb2.ProgressUpdate) -> Flat:
    return {
        "component": progress.component,
        "done": progress.done,
        **present(total=progress.total or None, message=progress.message),
    }


def _tool(tool: update_pb2.ToolUpdate) -> Flat:
    event = tool.WhichOneof("event") or "unknown"
    flat: Flat = {"component": tool.component, "wave": tool.wave, "event": event}
    if event == "thought":
        flat["text"] = tool.thought
    elif event == "call":
        call = tool.call
        flat |= {"call_id": call.id, "tool": call.name, "arguments": loads_or_text(call.arguments_json)}
    elif event == "result":
        result = tool.result
        flat |= {"call_id": result.call_id, "tool": result.name, "content": loads_or_text(result.content_json)}
        flat |= {
            "is_error": result.is_error,
            "seconds": seconds_of(result.duration),
            **present(usage=usage_json(result)),
        }
    elif event == "progress":
        fraction = tool.progress.fraction if tool.progress.HasField("fraction") else None
        flat |= {"call_id": tool.progress.call_id, **present(message=tool.progress.message, fraction=fraction)}
        flat |= present(usage=usage_json(tool.progress))
    return flat


def approval_json(approval: update_pb2.ApprovalUpdate) -> Flat:
    """A requested or decided approval."""
    flat: Flat = {
        "component": approval.component,
        "call_id": approval.call_id,
        "state": _word(update_pb2.ApprovalState.Name(approval.state), "APPROVAL_STATE_"),
        **present(tool=approval.tool, description=approval.description, reason=approval.reason),
    }
    if approval.arguments_json:
        flat["arguments"] = loads_or_text(approval.arguments_json)
        flat |= present(omitted_characters=approval.omitted_characters or None)
    if approval.HasField("deadline"):
        flat["deadline"] = time_json(approval.deadline.ToDatetime(UTC))
    return flat


def _log(log: update_pb2.LogUpdate) -> Flat:
    level = _word(update_pb2.LogLevel.Name(log.level), "LOG_LEVEL_")
    return {"component": log.component, "level": level, "message": log.message}


def trace_json(trace: update_pb2.TraceUpdate) -> Flat:
    """An item that has reached a node, or a request or an answer of a control connection."""
    flat: Flat = {"edge": trace.edge_id}
    if trace.lane_type:
        lane = lane_json(trace.lane_type)
        flat |= {"number": trace.number, "lane": lane, "size": trace.size_bytes}
        if trace.HasField("group"):
            flat |= _group(trace.group)
        flat |= present(summary=trace.summary)
        if trace.HasField("item") and trace.item.WhichOneof("payload"):
            flat["value"] = value_json(trace.item)
    return flat | present(left_out=trace.left_out or None)


_KINDS: dict[str, Callable[[Any], Flat]] = {
    "job": _job,
    "node": node_json,
    "edge": edge_json,
    "progress": _progress,
    "tool": _tool,
    "approval": approval_json,
    "log": _log,
    "trace": trace_json,
    "helper": helper_json,
}


def session_json(session: SessionInfo) -> Flat:
    """A kept session."""
    return {
        "id": session.id,
        "deployment": session.deployment,
        "title": session.title,
        "created_at": time_json(session.created_at),
        "used_at": time_json(session.used_at),
        "expires_at": time_json(session.expires_at),
        "last_turn": session.last_turn,
        "size_bytes": session.size_bytes,
    }


def turn_json(turn: Turn) -> Flat:
    """A turn of a kept session."""
    question = encode(LaneType.QUESTIONS, make_item(LaneType.QUESTIONS, turn.question))
    answer = encode(LaneType.ANSWERS, make_item(LaneType.ANSWERS, turn.answer))
    return {
        "number": turn.number,
        "run_id": turn.run_id,
        "state": turn.state.value,
        "question": value_json(question),
        "answer": value_json(answer),
        "created_at": time_json(turn.created_at),
        **present(
            ended_at=time_json(turn.ended_at) if turn.ended_at is not None else "", truncated=turn.truncated or None
        ),
    }
