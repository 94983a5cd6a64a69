"""Whether a run did what its pipeline has to do: its state, its outputs, and the states of its components."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from lanemesh.faults import Fault
from lanemesh.v1 import update_pb2

from graphs.interpret import Impossible, Part, Reading, interpret, shuffles
from graphs.shapes import Component, Edge, Graph

COMPLETED, FAILED, CANCELLED = (
    update_pb2.RUN_STATE_COMPLETED,
    update_pb2.RUN_STATE_FAILED,
    update_pb2.RUN_STATE_CANCELLED,
)

ENDED_WELL = (update_pb2.NODE_STATE_COMPLETED, update_pb2.NODE_STATE_SKIPPED)


@dataclass(slots=True)
class Outcome:
    """What was seen of a run."""

    state: update_pb2.RunState.ValueType = update_pb2.RUN_STATE_UNSPECIFIED
    error: Fault | None = None
    reason: str = ""
    outputs: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What each response delivered."""
    nodes: dict[str, update_pb2.NodeUpdate] = field(default_factory=dict)
    """The last word on each component."""
    edges: dict[str, update_pb2.EdgeUpdate] = field(default_factory=dict)
    """The last word on each edge."""
    growths: Counter[str] = field(default_factory=Counter)
    """How often an edge was told to have grown."""


def judge(graph: Graph, inputs: Sequence[str], outcome: Outcome) -> None:
    """Raises Impossible with what is wrong."""
    match outcome.state:
        case update_pb2.RUN_STATE_COMPLETED:
            _completed(graph, inputs, outcome)
        case update_pb2.RUN_STATE_FAILED:
            _failed(graph, inputs, outcome)
        case update_pb2.RUN_STATE_CANCELLED:
            if graph.cancel_after is None:
                raise Impossible(f"cancelled, and nobody did: {outcome.reason}")
            _check_beginnings(graph, interpret(graph, inputs), outcome)
        case other:
            raise Impossible(f"the run ended in state {other}")


def _completed(graph: Graph, inputs: Sequence[str], outcome: Outcome) -> None:
    traces = {component: outcome.outputs.get(response, []) for response, component in graph.told.items()}
    reading = interpret(graph, inputs, traces)
    if reading.unknown:
        raise AssertionError(f"no trace of {sorted(reading.unknown)}")
    closable = may_be_closed(graph)
    for response in graph.responses:
        streams = [reading.stream(edge) for edge in graph.edges if edge.consumer == response]
        values = [[item.value for item in stream.items] for stream in streams if stream is not None]
        got = outcome.outputs.get(response, [])
        if not shuffles(values, got):
            raise Impossible(f"{response} delivered {got} instead of {' and '.join(map(str, values))}")
    _check_edges(graph, reading, outcome, closable)
    for component in graph.components:
        part, node = reading.parts[component.id], outcome.nodes.get(component.id)
        if node is None:
            raise Impossible(f"nothing was told of {component.id}")
        if component.id not in closable:
            _check_node(component, part, node)
        elif node.state not in ENDED_WELL:
            raise Impossible(f"{component.id} is {update_pb2.NodeState.Name(node.state)} in a completed run")


def _check_edges(graph: Graph, reading: Reading, outcome: Outcome, closable: set[str]) -> None:
    """Every edge is told to be drained, and one whose consumer takes everything with the number of its items."""
    by_id = {component.id: component for component in graph.components}
    for edge in graph.edges:
        told, stream = outcome.edges.get(edge_id(graph, edge)), reading.stream(edge)
        if told is None or not told.drained:
            raise Impossible(f"{edge_id(graph, edge)} is not told to be drained: {told}")
        if stream is None or _may_stop(graph, by_id.get(edge.consumer), closable):
            continue
        items = len(stream.items)
        enough = told.sent >= items if _empty_too(graph, edge) else told.sent == items
        if not enough or told.sent != told.consumed or told.buffered:
            counts = f"{told.sent} sent, {told.consumed} consumed, {told.buffered} waiting"
            raise Impossible(f"{edge_id(graph, edge)} told of {counts}, and {items} items had to be")


def _empty_too(graph: Graph, edge: Edge) -> bool:
    """Whether items without a value may go over it too: they end wholes, or say what a join need not wait for."""
    by_id = {component.id: component for component in graph.components}
    producer = by_id.get(edge.producer)
    return (producer is not None and producer.provider.startswith("pieces")) or _leads_to_join(graph, edge)


def _leads_to_join(graph: Graph, edge: Edge) -> bool:
    by_id = {component.id: component for component in graph.components}
    consumer = by_id.get(edge.consumer)
    if consumer is None:
        return False
    return consumer.mode == "join" or any(_leads_to_join(graph, further) for further in graph.out_of(consumer.id))


def edge_id(graph: Graph, edge: Edge) -> str:
    """What a run calls an edge: its ends, and a number if there was one with these before."""
    ends = [
        f"{other.producer}.{other.output or 'text'}>{other.consumer}.{other.input or 'text'}" for other in graph.edges
    ]
    index = next(index for index, other in enumerate(graph.edges) if other is edge)
    before = ends[:index].count(ends[index])
    return f"{ends[index]}#{before + 1}" if before else ends[index]


def _check_node(component: Component, part: Part, node: update_pb2.NodeUpdate) -> None:
    if part.fatal is not None:
        raise Impossible(f"{component.id} should have failed on {part.fatal.values}")
    wanted = update_pb2.NODE_STATE_SKIPPED if part.skipped else update_pb2.NODE_STATE_COMPLETED
    open_end = (
        component.mode == "join" and not part.firings
    )  # which input is seen to end empty depends on who ends first
    if node.state != wanted and not (open_end and node.state in ENDED_WELL):
        raise Impossible(
            f"{component.id} is {update_pb2.NodeState.Name(node.state)}, not {update_pb2.NodeState.Name(wanted)}"
        )
    if node.skipped_firings != part.dropped:
        raise Impossible(f"{component.id} told of {node.skipped_firings} skipped firings, and {part.dropped} failed")
    if component.inputs and not component.runs and node.firings != len(part.firings):
        raise Impossible(f"{component.id} told of {node.firings} firings, and {len(part.firings)} had to be")


def _failed(graph: Graph, inputs: Sequence[str], outcome: Outcome) -> None:
    error = outcome.error
    if error is None:
        raise Impossible("failed without an error")
    component = error.details.get("component", "")
    if error.secondary or error.message != f"Broken: {component} is broken":
        raise Impossible(f"failed with {error.message} of {component or 'nobody'}{' (secondary)' * error.secondary}")
    reading = interpret(graph, inputs)
    if component not in _may_fail(graph, reading):
        raise Impossible(f"{component} failed, and has nothing to fail on")
    if outcome.nodes[component].state != update_pb2.NODE_STATE_FAILED:
        state = update_pb2.NodeState.Name(outcome.nodes[component].state)
        raise Impossible(f"{component} failed the run, and is {state}")
    _check_beginnings(graph, reading, outcome)


def _may_fail(graph: Graph, reading: Reading) -> set[str]:
    able = {component.id for component in graph.components if component.settings.get("fail")}
    return {name for name in able if name in reading.unknown or reading.parts[name].fatal is not None}


def _check_beginnings(graph: Graph, reading: Reading, outcome: Outcome) -> None:
    """What was delivered before the end is the beginning of what would have been, where that is known."""
    for response in graph.responses:
        streams = [reading.stream(edge) for edge in graph.edges if edge.consumer == response]
        if None in streams:
            continue
        values = [[item.value for item in stream.items] for stream in streams if stream is not None]
        got = outcome.outputs.get(response, [])
        if not shuffles(values, got, whole=False):
            raise Impossible(f"{response} delivered {got}, which is no beginning of {' and '.join(map(str, values))}")


def may_be_closed(graph: Graph) -> set[str]:
    """Components that may end early since nobody takes what they send."""
    by_id = {component.id: component for component in graph.components}
    closable: set[str] = set()
    for component in reversed(graph.components):
        edges = graph.out_of(component.id)
        if edges and all(_may_stop(graph, by_id.get(edge.consumer), closable) for edge in edges):
            closable.add(component.id)
    return closable


def _may_stop(graph: Graph, consumer: Component | None, closable: set[str]) -> bool:
    """Whether a consumer may stop a lane before its end."""
    if consumer is None:
        return False  # a response takes all
    if consumer.id in closable or consumer.provider == "take":
        return True
    singles = [port for port in graph.into(consumer.id) if consumer.inputs[port] != "l"]
    return not consumer.runs and len(singles) > 1
