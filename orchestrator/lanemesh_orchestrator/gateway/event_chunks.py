"""The updates of a batch as server-sent events.

The updates that runs have most of are written directly, to the same bytes: text outputs, the states of runs, and those of nodes and
edges, which every start and every end of a run reports for all of its nodes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring as _quoted

from google.protobuf.timestamp_pb2 import Timestamp
from lanemesh.text_outputs import Entry, TextOutputs
from lanemesh.times import NANOSECONDS, seconds_of
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.gateway.json_response import json_bytes
from lanemesh_orchestrator.gateway.sse import event
from lanemesh_orchestrator.update_json import (
    edge_shape_json,
    lane_json,
    node_state_json,
    placement_json,
    run_state_json,
    timestamp_json,
    to_json,
)

KEPT_TEXTS = 1_024
"""Most placements, and most shapes of edges, whose text is kept: the runs of a deployment report the same ones."""


def chunk_of(batch: Sequence[Entry]) -> bytes:
    """The updates of a batch as events: each is `sse.event` of its `to_json`, with its sequence as id."""
    return b"".join(map(_events, batch))


def _events(entry: Entry) -> bytes:
    if isinstance(entry, TextOutputs):
        return _texts(entry)
    kind = entry.WhichOneof("kind")
    if kind == "node":
        fields = _node(entry.node)
    elif kind == "edge":
        fields = _edge(entry.edge)
    elif kind == "job":
        fields = _job(entry.job)
    else:
        fields = None
    if fields is None:
        return event(to_json(entry), id=entry.sequence)
    number, time = entry.sequence, timestamp_json(entry.time)
    written = f'id: {number}\ndata: {{"sequence":{number},"time":"{time}","update":"{kind}",{fields}}}\n\n'
    return written.encode()


def _node(node: update_pb2.NodeUpdate) -> str | None:
    """The fields of a node; None if it has others than counts."""
    if node.detail or node.skipped_firings or node.retried_firings:
        return None
    if node.HasField("placement") or node.HasField("error"):
        return None
    state = node_state_json(node.state)
    spent = "".join([_spent(node, name) for name in ("waiting", "busy", "blocked") if node.HasField(name)])
    return f'"component":{_quoted(node.component)},"state":"{state}","firings":{node.firings}{spent}'


def _spent(node: update_pb2.NodeUpdate, name: str) -> str:
    seconds = round(seconds_of(getattr(node, name)), 6)
    return f',"{name}":{seconds!r}' if seconds else ""


def _edge(edge: update_pb2.EdgeUpdate) -> str | None:
    """The fields of an edge; None if it has others than counts."""
    if edge.growths or edge.detail:
        return None
    return (
        f'"edge":{_quoted(edge.edge_id)},"sent":{edge.sent},"consumed":{edge.consumed},"buffered":{edge.buffered},'
        f'"drained":{"true" if edge.drained else "false"},"limit_items":{edge.limit_items}'
    )


def _job(job: update_pb2.JobUpdate) -> str | None:
    """The fields of a run; None if it has failed, or has a reason."""
    if job.reason or job.HasField("error"):
        return None
    fields = [f'"run_id":{_quoted(job.run_id)},"state":"{run_state_json(job.state)}"']
    if job.placements:
        fields.append(f'"placements":[{",".join([_placement(place.SerializeToString()) for place in job.placements])}]')
    if job.edges:
        fields.append(f'"edges":[{",".join([_edge_shape(edge.SerializeToString()) for edge in job.edges])}]')
    if job.input_count:
        fields.append(f'"input_count":{job.input_count}')
    if job.inputs:
        fields.append(f'"inputs":[{",".join(map(_input, job.inputs))}]')
    return ",".join(fields)


def _input(given: update_pb2.InputSummary) -> str:
    port = f'"port":{_quoted(given.port)},' if given.port else ""
    lane = lane_json(given.lane_type)
    return f'{{{port}"lane":"{lane}","size":{given.size_bytes},"summary":{_quoted(given.summary)}}}'


@lru_cache(maxsize=KEPT_TEXTS)
def _placement(wire: bytes) -> str:
    return json_bytes(placement_json(update_pb2.Placement.FromString(wire))).decode()


@lru_cache(maxsize=KEPT_TEXTS)
def _edge_shape(wire: bytes) -> str:
    return json_bytes(edge_shape_json(update_pb2.EdgeShape.FromString(wire))).decode()


def _texts(outputs: TextOutputs) -> bytes:
    seconds, nanos = divmod(outputs.time, NANOSECONDS)
    time = timestamp_json(Timestamp(seconds=seconds, nanos=nanos))
    component, port = _quoted(outputs.component), _quoted(outputs.port)
    name = f',"name":{_quoted(outputs.name)}' if outputs.name else ""
    middle = f',"time":"{time}","update":"output","component":{component},"port":{port}{name},"lane":"text","value":'
    numbered = enumerate(outputs.texts, outputs.first)
    return "".join(
        [f'id: {number}\ndata: {{"sequence":{number}{middle}{_quoted(text)}}}\n\n' for number, text in numbered]
    ).encode()
