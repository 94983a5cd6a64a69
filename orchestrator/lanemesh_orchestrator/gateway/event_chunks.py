"""The updates of a batch as server-sent events.

The updates that runs have most of are written directly, to the same bytes: text outputs, and the states of nodes and edges, which
every start and every end of a run reports for all of its nodes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from json.encoder import encode_basestring as _quoted

from google.protobuf.timestamp_pb2 import Timestamp
from lanemesh.text_outputs import Entry, TextOutputs
from lanemesh.times import NANOSECONDS, seconds_of
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.gateway.sse import event
from lanemesh_orchestrator.update_json import node_state_json, timestamp_json, to_json


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
