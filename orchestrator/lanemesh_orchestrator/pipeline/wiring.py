"""Edges and control connections: which output meets which input, and which helper serves whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_BYTES
from lanemesh.node.names import OUTPUT_NAMES, outputs_of_config
from lanemesh.v1 import lane_pb2, node_pb2
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.config import json_object
from lanemesh_orchestrator.pipeline.document import DocumentComponent
from lanemesh_orchestrator.pipeline.entries import InputEntry
from lanemesh_orchestrator.pipeline.faults import MAX_FAULTS, PipelineFault, listed, nearest, quoted
from lanemesh_orchestrator.pipeline.graph import (
    LANE_NAMES,
    LANES,
    Edge,
)

Port = node_pb2.InputPort | node_pb2.OutputPort

SYNC_MODES: Mapping[str, node_pb2.SyncMode.ValueType] = {
    "on_any": node_pb2.SYNC_MODE_ON_ANY,
    "zip_all": node_pb2.SYNC_MODE_ZIP_ALL,
    "join": node_pb2.SYNC_MODE_JOIN,
}
"""When nodes fire, by the names that pipelines use."""


@dataclass(slots=True)
class Node:
    """A component on its way into the graph."""

    component: DocumentComponent
    """The entry of the document."""
    manifest: node_pb2.Manifest | None
    """Its node type; None if there is none."""
    config: Mapping[str, JsonValue]
    """Its config, resolved."""
    secret_pointers: Sequence[str] = ()
    """Its secret values."""
    connected: set[str] = field(default_factory=set)
    """Inputs, by the manifest's names, that an entry was meant for."""
    lost_inputs: int = 0
    """Input entries whose input is unknown."""

    def __post_init__(self) -> None:
        self.lost_inputs = self.component.lost_inputs

    @property
    def id(self) -> str:
        return self.component.entry.id

    @property
    def label(self) -> str:
        """The component as messages name it."""
        return f"{self.id or self.component.pointer} ({self.component.entry.provider or 'no provider'})"

    @property
    def sync_mode(self) -> node_pb2.SyncMode.ValueType:
        """The sync mode of the document, or else that of the node type."""
        declared = self.component.entry.sync_mode
        if declared is not None:
            return SYNC_MODES[declared]
        own = self.manifest.sync_mode if self.manifest is not None else node_pb2.SYNC_MODE_UNSPECIFIED
        return own or node_pb2.SYNC_MODE_ON_ANY

    @property
    def own_outputs(self) -> list[str]:
        """The outputs that its config names."""
        if self.manifest is None or OUTPUT_NAMES not in self.manifest.config_schema_json:
            return []
        return outputs_of_config(json_object(self.manifest.config_schema_json), self.config)

    @property
    def helper(self) -> bool:
        """Whether it only serves control connections."""
        node = self.component
        return bool(node.controls or node.lost_controls) and not node.inputs and not node.lost_inputs


@dataclass(frozen=True, slots=True)
class _Choice:
    """A port that was found for an entry."""

    name: str
    """Its name in the run."""
    port: str
    """Its name in the manifest."""


@dataclass(frozen=True, slots=True)
class _Miss:
    """No port was found for an entry."""

    reason: str
    message: str
    hint: str


def dangling(pointer: str, name: str, nodes: Mapping[str, Node]) -> PipelineFault:
    """The fault of an id that no component has."""
    near = nearest(name, nodes)
    hint = f"Nearest: {near}." if near else f"Components: {listed(list(nodes))}."
    return PipelineFault(pointer, "dangling-reference", f"There is no component {quoted(name)}.", hint)


def wire(nodes: Sequence[Node], by_id: Mapping[str, Node]) -> tuple[list[Edge], list[PipelineFault]]:
    """The edges, and the faults of invalid ones. Marks the connected inputs of the nodes."""
    edges: list[Edge] = []
    faults: list[PipelineFault] = []
    pointers: dict[str, str] = {}
    """Where each edge is written."""
    for consumer in nodes:
        for pointer, entry in consumer.component.inputs:
            if len(faults) > MAX_FAULTS:
                return edges, faults
            lane = LANES.get(entry.lane)
            taken = _take(consumer, entry, lane)
            if isinstance(taken, _Choice):
                consumer.connected.add(taken.port)
            elif consumer.manifest is not None:
                consumer.lost_inputs += 1
            producer = by_id.get(entry.producer)
            if producer is None:
                faults.append(dangling(f"{pointer}/from", entry.producer, by_id))
            if lane is None:
                faults.append(_unknown_lane(pointer, entry, producer, consumer))
            if lane is None or producer is None:
                continue
            sent = _send(producer, entry, lane)
            faults.extend(_misses(pointer, entry, producer, consumer, sent, taken))
            if not isinstance(sent, _Choice) or not isinstance(taken, _Choice):
                continue
            name = f"{producer.id}.{sent.name}>{consumer.id}.{taken.name}"
            if (first := pointers.setdefault(name, pointer)) is not pointer:
                message = f"{first} already connects {producer.id}.{sent.name} with {consumer.id}.{taken.name}."
                hint = "Remove this entry: each item would arrive twice."
                faults.append(PipelineFault(pointer, "duplicate-edge", message, hint))
                continue
            edges.append(
                Edge(
                    id=name,
                    producer=producer.id,
                    output=sent.name,
                    output_port=sent.port,
                    consumer=consumer.id,
                    input=taken.name,
                    input_port=taken.port,
                    lane_type=lane,
                    pointer=pointer,
                    limit_items=entry.buffer_limit,
                    limit_bytes=entry.buffer_bytes or DEFAULT_LIMIT_BYTES,
                    serialize_groups=entry.merge == "group",
                )
            )
    return edges, faults


def _send(producer: Node, entry: InputEntry, lane: lane_pb2.LaneType.ValueType) -> _Choice | _Miss | None:
    if producer.manifest is None:
        return None
    return _choose(producer, "output", producer.manifest.outputs, lane, entry.output)


def _take(consumer: Node, entry: InputEntry, lane: lane_pb2.LaneType.ValueType | None) -> _Choice | _Miss | None:
    if consumer.manifest is None:
        return None
    if lane is None:
        named = [port.name for port in consumer.manifest.inputs if port.name in (entry.input, entry.lane)]
        return _Choice(named[0], named[0]) if named else None
    return _choose(consumer, "input", consumer.manifest.inputs, lane, entry.input)


def _choose(
    node: Node, side: str, ports: Sequence[Port], lane: lane_pb2.LaneType.ValueType, wanted: str | None
) -> _Choice | _Miss:
    """The port for a lane: the named one, or the one of that type, or one that accepts any type."""
    lane_name = LANE_NAMES[lane]
    exact = [port for port in ports if port.lane_type == lane]
    free = [port for port in ports if port.lane_type == lane_pb2.LANE_TYPE_UNSPECIFIED]
    own = node.own_outputs if side == "output" and free else []
    if wanted in own:
        return _Choice(wanted, free[0].name)
    if wanted is not None:
        named = [port for port in ports if port.name == wanted] or (free[:1] if wanted == lane_name else [])
        if not named:
            near = nearest(wanted, [*own, *(port.name for port in ports)])
            hint = f"Nearest: {near}." if near else f"Its {side}s: {', '.join([*own, _ports(ports)])}."
            return _Miss("unknown-port", f"{node.label} has no {side} {quoted(wanted)}.", hint)
        if named[0].lane_type not in (lane, lane_pb2.LANE_TYPE_UNSPECIFIED):
            is_lane = LANE_NAMES.get(named[0].lane_type, "unknown")
            return _Miss("lane-mismatch", f"the {side} {wanted} of {node.label} is for {is_lane}", "")
        return _accepted(node, named[0], lane_name)
    fitting = exact or free
    if len(fitting) > 1:
        fitting = [port for port in fitting if port.name == lane_name] or fitting
    if len(fitting) > 1 or (own and not exact):
        names = listed([*own, *(port.name for port in fitting)])
        hint = f'Add "{side}": one of {names}.'
        return _Miss("ambiguous-port", f"{node.label} has several {side}s for {lane_name}: {names}.", hint)
    if not fitting:
        verb = "sends" if side == "output" else "takes"
        message = f"{node.label} {verb} {_ports(ports)}" if ports else f"{node.label} has no {side}s"
        return _Miss("lane-mismatch", message, "")
    return _accepted(node, fitting[0], lane_name)


def _accepted(node: Node, port: Port, lane_name: str) -> _Choice | _Miss:
    """A port for the lane, unless the config selects another one.

    A port that accepts any lane, of a node type whose config has `lane`, is named after its lane: `response` with `"lane":
    "answers"` has the input `answers`.
    """
    if port.lane_type != lane_pb2.LANE_TYPE_UNSPECIFIED:
        return _Choice(port.name, port.name)
    decided = node.config.get("lane")
    if isinstance(decided, str) and decided in LANES and decided != lane_name:
        hint = f'Write "lane": "{lane_name}" in its config.'
        return _Miss("lane-mismatch", f"the config of {node.label} sets it to {decided}", hint)
    schema = json_object(node.manifest.config_schema_json) if node.manifest else {}
    return _Choice(lane_name if "lane" in schema.get("properties", {}) else port.name, port.name)


def _misses(
    pointer: str,
    entry: InputEntry,
    producer: Node,
    consumer: Node,
    sent: _Choice | _Miss | None,
    taken: _Choice | _Miss | None,
) -> list[PipelineFault]:
    """The faults of one entry; a mismatch is reported once and names both sides."""
    sides = ((sent, "output"), (taken, "input"))
    faults = [
        PipelineFault(
            f"{pointer}/{side if side in entry.model_fields_set else 'lane'}", found.reason, found.message, found.hint
        )
        for found, side in sides
        if isinstance(found, _Miss) and found.reason != "lane-mismatch"
    ]
    mismatched = [found for found, _ in sides if isinstance(found, _Miss) and found.reason == "lane-mismatch"]
    if not mismatched:
        return faults
    outputs = _side(producer, "output", sent)
    inputs = _side(consumer, "input", taken)
    hint = next((found.hint for found in mismatched if found.hint), "") or _bridge(producer, consumer)
    message = f"The lane {entry.lane} does not fit: {outputs}; {inputs}."
    return [*faults, PipelineFault(f"{pointer}/lane", "lane-mismatch", message, hint)]


def _side(node: Node, side: str, found: _Choice | _Miss | None) -> str:
    if isinstance(found, _Miss) and found.reason == "lane-mismatch":
        return found.message
    if node.manifest is None:
        return f"the {side}s of {node.label} are not known"
    ports: Sequence[Port] = node.manifest.outputs if side == "output" else node.manifest.inputs
    return f"{node.label} {'sends' if side == 'output' else 'takes'} {_ports(ports)}"


def _bridge(producer: Node, consumer: Node) -> str:
    """The correction, if there is a lane that both sides have."""
    if producer.manifest is None or consumer.manifest is None:
        return "Use one of its lanes, or connect another component."
    sent = [port.lane_type for port in producer.manifest.outputs]
    taken = {port.lane_type for port in consumer.manifest.inputs}
    common = [LANE_NAMES[lane] for lane in dict.fromkeys(sent) if lane in taken and lane in LANE_NAMES]
    if common:
        return f'Both have {listed(common)}: write "lane": "{common[0]}".'
    return "Insert a component that converts one into the other."


def _unknown_lane(pointer: str, entry: InputEntry, producer: Node | None, consumer: Node) -> PipelineFault:
    message = f"There is not a lane type {quoted(entry.lane)}."
    outputs = producer.manifest.outputs if producer and producer.manifest else ()
    for port in outputs:
        if port.name == entry.lane and port.lane_type in LANE_NAMES:
            hint = f'{entry.lane} is an output: write "lane": "{LANE_NAMES[port.lane_type]}", "output": "{entry.lane}".'
            return PipelineFault(f"{pointer}/lane", "unknown-lane", message, hint)
    for taking in consumer.manifest.inputs if consumer.manifest else ():
        if taking.name == entry.lane and taking.lane_type in LANE_NAMES:
            hint = f'{entry.lane} is an input: write "lane": "{LANE_NAMES[taking.lane_type]}", "input": "{entry.lane}".'
            return PipelineFault(f"{pointer}/lane", "unknown-lane", message, hint)
    near = nearest(entry.lane, LANES)
    hint = f"Nearest: {near}." if near else f"Lane types: {listed(list(LANES))}."
    return PipelineFault(f"{pointer}/lane", "unknown-lane", message, hint)


def _ports(ports: Sequence[Port]) -> str:
    """Ports for messages: "questions", or "shouted (text)" where name and lane type differ."""
    entries = []
    for port in ports:
        lane = LANE_NAMES.get(port.lane_type, "any lane")
        entries.append(lane if port.name == lane else f"{port.name} ({lane})" if port.name else lane)
    return listed(entries)
