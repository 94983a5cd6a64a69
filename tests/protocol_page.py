"""Writes the generated parts of docs/protocol.md: features, timings and limits, and golden frames.

`python tests/protocol_page.py` writes the page anew; `make protocol-page` calls it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message
from lanemesh._grpc.connections import CHANNEL_OPTIONS, SERVER_OPTIONS
from lanemesh.faults import Code, Fault
from lanemesh.features import Feature
from lanemesh.v1 import lane_pb2, node_pb2, update_pb2

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "protocol.md"

SENDER, RECEIVER = "lanemesh.lanes.transport.grpc_sender", "lanemesh.lanes.transport.grpc_receiver"
HOSTED, PHASES = "lanemesh.server.host.hosted_run", "lanemesh_orchestrator.runs.phases"

LIMITS: dict[str, list[tuple[str, str]]] = {
    "Lanes": [
        (
            "lanemesh.server.node_service.OPEN_SECONDS",
            "from the beginning of an `Exchange` call to `open`",
        ),
        (f"{SENDER}.OPEN_SECONDS", "from `open` to `accepted`"),
        (f"{SENDER}.ACCEPT_SECONDS", "the same for a lane whose `open` carries items"),
        (
            "lanemesh.lanes.transport.late_dial.DIAL_SECONDS",
            "from `start` to `open` of a lane that waits for its first item (`merges_frames`)",
        ),
        (
            f"{HOSTED}.OPEN_SECONDS",
            "from `start` to `open` of every incoming lane (`opens_lanes_at_start`)",
        ),
        (
            "lanemesh.protocol.IDLE_FRAME_SECONDS",
            "idleness of one direction of a stream after which an empty frame is sent",
        ),
        (
            f"{RECEIVER}.BREAK_GRACE_SECONDS",
            "from a half-close without `end` to DATA_LOSS",
        ),
        (
            f"{RECEIVER}.DISCARD_SECONDS",
            "from `stop` for a violation to the status, without a half-close",
        ),
        (
            "lanemesh.lanes.transport.credit.PATIENCE_SECONDS",
            "from taken items to `credit` for a producer that is out of credit",
        ),
        (
            "lanemesh.lanes.transport.credit.PROMPT_SECONDS",
            "from arrived or committed items to `credit` on recoverable edges",
        ),
        ("lanemesh.lanes.transport.frames.MAX_FRAME_ITEMS", "most items in a frame, and in a short lane"),
        (
            "lanemesh.lanes.transport.frames.MAX_FRAME_BYTES",
            "most encoded bytes of a frame of several items, of short lanes, and of `more`",
        ),
        ("lanemesh.items.CHUNK_BYTES", "most bytes of a chunk, and of the content of media in an item"),
        ("lanemesh.items.MAX_MEDIA_BYTES", "most bytes of one media value or file, all chunks together"),
        ("lanemesh.items.MAX_VALUE_BYTES", "most bytes of any other value"),
        ("lanemesh.items.MAX_METADATA_BYTES", "most bytes of an item's metadata"),
        (
            "lanemesh.lanes.inbox.edge.DEFAULT_LIMIT_ITEMS",
            "`Edge.limit_items` between servers, unless the pipeline sets it",
        ),
        ("lanemesh.lanes.inbox.edge.DEFAULT_LIMIT_BYTES", "`Edge.limit_bytes`, unless the pipeline sets it"),
        ("lanemesh._grpc.connections.MAX_STREAMS_PER_CHANNEL", "lanes that share a connection"),
    ],
    "Host": [
        (f"{PHASES}.PLACE_TIMEOUT", "from `place` to `placed`"),
        (
            f"{PHASES}.SILENCE_TIMEOUT",
            "without any frame of the server meanwhile",
        ),
        (f"{PHASES}.CONNECT_TIMEOUT", "from `connect` to `connected`"),
        ("lanemesh.server.host.supervision.CANCEL_SECONDS", "from `cancel` to the end of all nodes"),
        (
            "lanemesh_orchestrator.runs.host_handle.FINISH_SECONDS",
            "from `cancel` to `finished`",
        ),
        (f"{HOSTED}.TIMEOUT_GRACE_SECONDS", "how much longer than `Place.timeout` a server lets a run go on"),
        (
            "lanemesh.server.node_service.HALF_CLOSE_SECONDS",
            "from the last frame of the server to the half-close of the orchestrator",
        ),
        (
            "lanemesh.server.host.host_session.LEAVE_SECONDS",
            "how long `place` waits for a cancelled run of the same id to end",
        ),
        (
            "lanemesh.server.host.response_queue.MAX_UPDATES",
            "most frames that wait for the orchestrator",
        ),
        ("lanemesh.server.host.reporting.EDGE_UPDATE_SECONDS", "least time between two updates of one edge"),
        ("lanemesh.server.host.reporting.FIRINGS_SECONDS", "least time between two updates of a node's firings"),
        (
            "lanemesh.server.host.probing.BLOCKED_SECONDS",
            "wait for capacity after which `stalled` is sent",
        ),
        ("lanemesh.server.host.probing.MOST_SECONDS", "longest pause before `stalled` is repeated"),
        ("lanemesh_orchestrator.deadlock.monitor.ANSWER_SECONDS", "from `probe` to `probed`"),
        ("lanemesh_orchestrator.runs.recovery.DETACH_SECONDS", "from `detach` to `detached`"),
        ("lanemesh.protocol.UNSAID_SECONDS", "from a broken recoverable lane to `detach`"),
        (
            "lanemesh.protocol.DETACHED_SECONDS",
            "from `detach` to `reroute`, or to a lane with `reopen`",
        ),
        ("lanemesh.lanes.recovery.replaying_sender.MAX_KEPT_ITEMS", "most items that a producer keeps for a replay"),
        ("lanemesh.lanes.recovery.replaying_sender.MAX_KEPT_BYTES", "most bytes of these"),
    ],
    "Register, Run and Lease": [
        ("lanemesh.server.registration.BEAT_SECONDS", "between two heartbeats of a node server"),
        ("lanemesh_orchestrator.registry.service.QUIET_SECONDS", "silence after which other servers are preferred"),
        ("lanemesh_orchestrator.registry.service.SILENCE_SECONDS", "silence after which the server is removed"),
        ("lanemesh.server.registration.RETRY_SECONDS", "bounds of the pause before the orchestrator is dialled again"),
        (
            "lanemesh_orchestrator.registry.polled_servers.CHECK_SECONDS",
            "between two calls of Describe and of health to a polled server",
        ),
        (
            "lanemesh_orchestrator.runs.service.FIRST_FRAME_SECONDS",
            "from the beginning of a `Host` or `Run` call to its first frame",
        ),
        ("lanemesh_orchestrator.runs.owner_window.CALLER_UPDATES", "most updates of `Run` that are not acknowledged"),
        ("lanemesh_orchestrator.runs.owner_window.CALLER_BYTES", "most bytes of these"),
        ("lanemesh.gpu.core.TTL", "life of a lease after its last keepalive"),
    ],
}
"""By table: the constant, and what it bounds."""


def _shown(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{part:g}" for part in value) + " s"
    assert isinstance(value, (int, float))
    if name.endswith("_BYTES") or name == "MAX_KEPT_BYTES":
        for unit, size in (("MiB", 1024 * 1024), ("KiB", 1024)):
            if value % size == 0 and value < 10_000 * size:
                return f"{int(value) // size} {unit}"
        return f"{value:,} bytes"
    if name.endswith(("SECONDS", "TIMEOUT")) or name == "TTL":
        return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
    return f"{value:,}"


def limits() -> str:
    """The table of timings and limits."""
    lines = ["| value | what it bounds |", "|---|---|"]
    for title, rows in LIMITS.items():
        lines.append(f"| | **{title}** |")
        for path, what in rows:
            module, name = path.rsplit(".", 1)
            value = getattr(importlib.import_module(module), name)
            lines.append(f"| {_shown(name, value)} | {what} |")
    return "\n".join(lines)


OWN_SETTINGS = (
    *("grpc.so_reuseport", "grpc.use_local_subchannel_pool", "grpc.server."),
    *("grpc.initial_reconnect_backoff_ms", "grpc.max_reconnect_backoff_ms", "grpc.max_send"),
)
"""Beginnings of settings that peers do not notice."""


def http2() -> str:
    """The table of HTTP/2 settings."""
    common = dict(CHANNEL_OPTIONS).items() & dict(SERVER_OPTIONS).items()
    lines = ["| at | settings |", "|---|---|"]
    for title, options in (
        ("both ends", [pair for pair in SERVER_OPTIONS if pair in common]),
        ("clients", [pair for pair in CHANNEL_OPTIONS if pair not in common]),
        ("servers", [pair for pair in SERVER_OPTIONS if pair not in common]),
    ):
        seen = [pair for pair in options if not pair[0].startswith(OWN_SETTINGS)]
        shown = "; ".join(f"`{name.removeprefix('grpc.')}` {value:,}" for name, value in seen)
        if shown:
            lines.append(f"| {title} | {shown} |")
    return "\n".join(lines)


FEATURE_LEVELS = {
    Feature.GROUPS: "L1",
    Feature.JOINS: "L3",
    Feature.RECOVERY: "L4",
    Feature.PRELOAD: "L5",
    Feature.QUICK_STARTS: "L6",
    Feature.MERGED_FRAMES: "L6",
    Feature.SHORT_LANES: "L6",
}


def features() -> str:
    """The table of features."""
    texts = dict(_docstrings())
    lines = ["| feature | level | what it is |", "|---|---|---|"]
    lines += [f"| `{feature}` | {FEATURE_LEVELS.get(feature, '-')} | {texts[feature.name]} |" for feature in Feature]
    return "\n".join(lines)


def _docstrings() -> Iterator[tuple[str, str]]:
    """The name of each feature, and the text under it."""
    source = (ROOT / "sdk/python/lanemesh/features.py").read_text(encoding="utf-8")
    for name, text in re.findall(r'^    ([A-Z_]+) = "[a-z-]+"\n    """(.+?)"""$', source, re.MULTILINE | re.DOTALL):
        yield name, " ".join(text.split())


@dataclass(frozen=True, slots=True)
class Golden:
    """One frame of a golden session."""

    call: str
    """The call: its method, and for `Exchange` the edge."""
    sent: bool
    """True: to the server under test. False: by it."""
    frame: Message


RUN = "r1"
IN, OUT = "a.out>n.text", "n.out>b.text"


def _edge(**fields: object) -> node_pb2.Edge:
    return node_pb2.Edge(lane_type=lane_pb2.LANE_TYPE_TEXT, limit_items=4, limit_bytes=1024, **fields)  # type: ignore[arg-type]


def session() -> list[Golden]:
    """A run of one `conformance_echo` on a server at 127.0.0.1:7001, between a producer and a consumer at 127.0.0.1:7002."""
    request, response = node_pb2.HostRequest, node_pb2.HostResponse
    instance = node_pb2.Instance(component="n", provider="conformance_echo", config_json="{}")
    incoming = _edge(
        id=IN, producer="a", output="out", consumer="n", input="text",
        producer_server="d", consumer_server="s", consumer_address="127.0.0.1:7001",
    )  # fmt: skip
    outgoing = _edge(
        id=OUT, producer="n", output="out", consumer="b", input="text",
        producer_server="s", consumer_server="d", consumer_address="127.0.0.1:7002",
    )  # fmt: skip
    place = node_pb2.Place(run_id=RUN, protocol_version=1, instances=[instance], edges=[incoming, outgoing], server="s")
    node = update_pb2.NodeUpdate(component="n", state=update_pb2.NODE_STATE_RUNNING)
    ended = update_pb2.NodeUpdate(component="n", state=update_pb2.NODE_STATE_COMPLETED, firings=2)
    down, up = lane_pb2.ExchangeRequest, lane_pb2.ExchangeResponse
    opened = [
        lane_pb2.LaneOpen(run_id=RUN, edge_id=edge, lane_type=lane_pb2.LANE_TYPE_TEXT, protocol_version=1)
        for edge in (OUT, IN)
    ]
    accepted = up(accepted=lane_pb2.LaneAccepted(limit_items=4))
    items = down(items=lane_pb2.LaneItems(items=[lane_pb2.Item(text="a"), lane_pb2.Item(text="b")]))
    end = down(end=lane_pb2.LaneEnd(item_count=2))
    return [
        Golden("Host", True, request(place=place)),
        Golden("Host", False, response(placed=node_pb2.Placed())),
        Golden("Host", True, request(connect=node_pb2.Connect())),
        Golden(f"Exchange {OUT}", False, down(open=opened[0])),
        Golden(f"Exchange {OUT}", True, accepted),
        Golden("Host", False, response(connected=node_pb2.Connected())),
        Golden(f"Exchange {IN}", True, down(open=opened[1])),
        Golden(f"Exchange {IN}", False, accepted),
        Golden("Host", True, request(start=node_pb2.Start())),
        Golden("Host", False, response(update=update_pb2.Update(node=node))),
        Golden(f"Exchange {IN}", True, items),
        Golden(f"Exchange {IN}", False, up(credit=lane_pb2.LaneCredit(taken_items=2, limit_items=4))),
        Golden(f"Exchange {OUT}", False, items),
        Golden(f"Exchange {IN}", True, end),
        Golden(f"Exchange {OUT}", False, end),
        Golden("Host", False, response(update=update_pb2.Update(node=ended))),
        Golden("Host", False, response(finished=node_pb2.Finished())),
    ]


def others() -> list[Golden]:
    """Further frames: faults, groups, tags, those of higher levels, and the details of a failed call."""
    from lanemesh.v1 import fault_pb2

    fault = fault_pb2.Fault(code=2, message="it broke", reason="node-error", details={"component": "n"}, secondary=True)
    down = lane_pb2.ExchangeRequest
    group = lane_pb2.Group(id="n.out.0", index=1, last=True)
    whole = lane_pb2.Item(text="a", group=group)
    tagged = lane_pb2.Item(text="a", lineage=lane_pb2.Lineage(forks={"a.out": 7}, done=True))
    wait = node_pb2.ActorWait(full_edges=[OUT])
    probed = node_pb2.Probed(
        id=3,
        actors=[node_pb2.ActorReport(component="n", version=5, waits=[wait])],
        edges=[node_pb2.EdgeReport(edge_id=OUT, producer_end=True, items=4, limit_items=4)],
    )
    refusal = Fault(code=Code.NOT_FOUND, reason="unknown-run", message="no such run", details={"lane": IN})
    return [
        Golden("Exchange", True, down()),
        Golden("Exchange", True, down(end=lane_pb2.LaneEnd(item_count=2, outcome=fault))),
        Golden("Exchange", True, down(chunk=lane_pb2.LaneChunk(content=b"\x89PNG"))),
        Golden("Exchange", True, down(items=lane_pb2.LaneItems(items=[whole]))),
        Golden("Exchange", True, down(items=lane_pb2.LaneItems(items=[tagged]))),
        Golden("Host", False, node_pb2.HostResponse(probed=probed)),
        Golden("grpc-status-details-bin", False, refusal.to_status()),
    ]


def golden(frames: list[Golden]) -> str:
    """Frames as the page shows them: the call, the direction, the frame as text, and its bytes."""
    lines = ["```text"]
    for one in frames:
        text = text_format.MessageToString(one.frame, as_one_line=True).strip() or "(empty)"
        encoded = one.frame.SerializeToString(deterministic=True).hex() or "-"
        lines += [f"{'->' if one.sent else '<-'} {one.call}: {one.frame.DESCRIPTOR.name} {{ {text} }}", f"   {encoded}"]
    return "\n".join([*lines, "```"])


BLOCKS: dict[str, Callable[[], str]] = {
    "features": features,
    "limits": limits,
    "http2": http2,
    "session": lambda: golden(session()),
    "frames": lambda: golden(others()),
}
"""The generated parts of the page, by the name in their markers."""


def page(text: str) -> str:
    """The page with its generated parts written anew."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{block()}\n{rest[rest.index(end) :]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
