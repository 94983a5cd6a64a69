"""The lines of a run beside its outputs: its mesh, graph, agents, logs and timing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lanemesh.times import measured, seconds_of
from lanemesh.v1 import update_pb2

from lanemesh_orchestrator.cli.exits import NOTHING_DELIVERED
from lanemesh_orchestrator.cli.output.stats import RunStats

MAX_SHOWN = 600
"""Maximum length of a shown thought, call or result of an agent, in characters."""


def mesh_line(placements: Sequence[update_pb2.Placement], orchestrator: str) -> str:
    """The processes of the mesh: `mesh orchestrator 127.0.0.1:41873 · llm pid 5121 · response in orchestrator`."""
    parts = [f"orchestrator {orchestrator}".rstrip()]
    servers: dict[tuple[str, str, int], list[str]] = {}
    local: dict[str, None] = {}
    for place in placements:
        if place.address:
            servers.setdefault((place.server, place.address, place.pid), []).append(place.provider)
        else:
            local.setdefault(place.provider)
    for server, address, pid in servers:
        parts.append(f"{server} pid {pid}" if is_loopback(address) else f"{server} at {address}")
    if local:
        parts.append(f"{', '.join(local)} in orchestrator")
    return f"mesh   {' · '.join(parts)}"


def is_loopback(address: str) -> bool:
    """Whether "host:port" is on this machine, so that a process id of its means something here."""
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def tool_lines(tool: update_pb2.ToolUpdate) -> str:
    """The step of an agent: `agent_1 thinks ...`, `agent_1 calls weather {"city": "Oslo"}`, `weather answers ... (0.12 s)`."""
    event = tool.WhichOneof("event")
    who = tool.component
    if event == "thought":
        return _prefixed(f"{who} thinks:", tool.thought)
    if event == "call":
        return _prefixed(f"{who} calls {tool.call.name}", _compact(tool.call.arguments_json))
    if event == "result":
        result = tool.result
        verb = "fails:" if result.is_error else "answers:"
        seconds = seconds_of(result.duration)
        return f"{_prefixed(f'{who} · {result.name} {verb}', _compact(result.content_json))} ({seconds:.2f} s)"
    if event == "progress":
        percent = f" {tool.progress.fraction:.0%}" if tool.progress.HasField("fraction") else ""
        return _prefixed(f"{who} · {tool.progress.message or 'tool at work'}{percent}", "")
    return ""


def approval_line(approval: update_pb2.ApprovalUpdate) -> str:
    """The step of an approval: `agent_1 waits for the approval c1: http_get {"url": ...}`, or its decision."""
    who, state = f"{approval.component} · {approval.call_id}", approval.state
    if state == update_pb2.APPROVAL_STATE_REQUESTED:
        what = approval.description or f"call {approval.tool}"
        return _prefixed(f"{who} waits for an approval: {what}", _compact(approval.arguments_json))
    word = update_pb2.ApprovalState.Name(state).removeprefix("APPROVAL_STATE_").lower()
    return f"{who} {word}{f': {approval.reason}' if approval.reason else ''}"


def approval_hint(approval: update_pb2.ApprovalUpdate, run_id: str, mesh: str | None) -> str:
    """How to decide an approval from another terminal, if the run is one of the mesh at an address."""
    if mesh is None:
        return "Standard input is not a terminal, so no one is asked. Without a decision the request is refused at its deadline."
    which = f"{run_id} {approval.call_id} --mesh {mesh}"
    return f"Decide with `lanemesh approve {which}` or `lanemesh refuse {which}`."


def approval_question(approval: update_pb2.ApprovalUpdate) -> str:
    """The question about an approval on a terminal."""
    return f"{approval_line(approval)}\nApprove? [y/n]"


def log_lines(log: update_pb2.LogUpdate) -> str:
    """A log message with its component before each line."""
    level = update_pb2.LogLevel.Name(log.level).removeprefix("LOG_LEVEL_").lower()
    prefix = log.component if level in ("info", "unspecified") else f"{log.component} {level}"
    return _prefixed(f"{prefix}:", log.message, cut=False)


def node_line(node: update_pb2.NodeUpdate) -> str:
    """The line for a node's state: that it was skipped, what it waits for, that it was placed again, or how many firings
    failed; otherwise empty."""
    if node.state == update_pb2.NODE_STATE_SKIPPED:
        return f"{node.component} was skipped: {node.detail or 'a required input ended empty'}"
    if node.state == update_pb2.NODE_STATE_WAITING and node.detail:
        return f"{node.component} waits: {node.detail}"
    if node.HasField("placement"):
        return f"{node.component}: {node.detail}"
    failed = failed_firings(node)
    return f"{node.component} {failed}" if failed and node.state == update_pb2.NODE_STATE_COMPLETED else ""


def is_secondary(node: update_pb2.NodeUpdate) -> bool:
    """Whether a node failed only since something else had failed before."""
    return node.state == update_pb2.NODE_STATE_FAILED and node.error.secondary


def helper_line(helper: update_pb2.HelperUpdate) -> str:
    """The calls of a helper: `llm_1: 3 calls, 1 failed, 120 tokens in, 48 tokens out`."""
    return f"{helper.component}: {helper_activity(helper)}"


def helper_activity(helper: update_pb2.HelperUpdate) -> str:
    """The same without its name; with `answering` while a call is under way, `idle` while there was none."""
    if not helper.calls:
        return "idle"
    parts = [f"answering {helper.active_calls:,}"] if helper.active_calls else []
    parts.append(f"{helper.calls:,} call{'' if helper.calls == 1 else 's'}")
    parts += [f"{helper.failed_calls:,} failed"] if helper.failed_calls else []
    if helper.HasField("usage"):
        parts += [f"{helper.usage.prompt_tokens:,} tokens in", f"{helper.usage.completion_tokens:,} tokens out"]
    if helper.usage.HasField("cost"):
        parts.append(f"{helper.usage.cost:.4f} USD")
    return ", ".join(parts)


def failed_firings(node: update_pb2.NodeUpdate) -> str:
    """The outcome of failed firings: `skipped 2 failed firings, retried failed firings 3 times`; otherwise empty."""
    parts = []
    if node.skipped_firings:
        parts.append(f"skipped {node.skipped_firings:,} failed firing{'s' if node.skipped_firings > 1 else ''}")
    if node.retried_firings:
        parts.append(f"retried failed firings {node.retried_firings:,} time{'s' if node.retried_firings > 1 else ''}")
    return ", ".join(parts)


def edge_line(edge: update_pb2.EdgeUpdate, before: tuple[int, str]) -> str:
    """The line for an edge, after these growths and that detail: that it was grown, or which node waits; otherwise empty."""
    growths, detail = before
    if edge.growths > growths:
        text = edge.detail or f"grown to {edge.limit_items:,} items"
    else:
        text = edge.detail if edge.detail != detail else ""
    return f"{edge.edge_id}: {text}" if text else ""


def progress_line(progress: update_pb2.ProgressUpdate) -> str:
    """How far a node is: `llm_1: preparing the model, 40 %`."""
    done = f"{progress.done / progress.total:.0%}" if progress.total else ""
    text = ", ".join(part for part in (progress.message, done) if part)
    return f"{progress.component}: {text or f'{progress.done:g}'}"


def timing_line(stats: RunStats, state: update_pb2.RunState.ValueType) -> str:
    """`completed in 1.9 s · first token 0.21 s · 61 tokens · 36 tokens/s`; the rate counts from the first one on. After that, what
    was stored: `store_1 took 4 items (index.sqlite)`."""
    state_name = update_pb2.RunState.Name(state).removeprefix("RUN_STATE_").lower()
    parts = [f"{state_name} {'in' if state == update_pb2.RUN_STATE_COMPLETED else 'after'} {measured(stats.total)}"]
    count, unit = (stats.tokens, "token") if stats.tokens else (stats.items, "item")
    if stats.first is not None:
        parts.append(f"first {unit} {measured(stats.first)}")
        parts.append(f"{count:,} {unit}{'' if count == 1 else 's'}")
        span = stats.total - stats.first
        if count > 1 and span > 0:
            parts.append(f"{_rate(count / span)} {unit}s/s")
    for name, taken in stats.stored.items():
        place = f" ({stats.places[name]})" if name in stats.places else ""
        parts.append(f"{name} took {taken}{place}")
    return " · ".join(parts)


def delivered(stats: RunStats) -> str:
    """A description of the outputs of a run that did not complete."""
    return _delivered([f"{_items(count)} by {name}" for name, count in stats.by_component.items()])


def delivered_items(count: int) -> str:
    """The same of a run of whose outputs only the number is known."""
    return _delivered([_items(count)] if count else [])


def _delivered(parts: Sequence[str]) -> str:
    return f"Delivered before that: {', '.join(parts)}." if parts else NOTHING_DELIVERED


def _items(count: int) -> str:
    return f"{count:,} item{'' if count == 1 else 's'}"


def _prefixed(prefix: str, text: str, *, cut: bool = True) -> str:
    text = text.strip()
    if cut and len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]} … ({len(text) - MAX_SHOWN:,} more characters)"
    return "\n".join(f"{prefix} {line}".rstrip() for line in text.split("\n"))


def _compact(text: str) -> str:
    """A JSON text on one line; other text as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def trace_line(trace: update_pb2.TraceUpdate) -> str:
    """An item that has reached a node: `chat_1.text>upper_1.text #3 · 12 bytes · hello`."""
    left_out = f"{trace.left_out:,} earlier items are omitted" if trace.left_out else ""
    if not trace.lane_type:
        return f"{trace.edge_id}: the last {trace.left_out:,} items are omitted"
    group = f"piece {trace.group.index} of {trace.group.id}" if trace.HasField("group") else ""
    shown = trace.summary.replace("\n", " ")
    parts = [f"{trace.edge_id} #{trace.number}", f"{trace.size_bytes:,} bytes", group, shown, left_out]
    return " · ".join(part for part in parts if part)
