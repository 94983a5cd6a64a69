"""A pipeline with all references resolved, ready for planning."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_BYTES
from lanemesh.protocol import control_edge_id
from lanemesh.redaction import Secrets, secrets_of
from lanemesh.v1 import lane_pb2, node_pb2, update_pb2

from lanemesh_orchestrator.pipeline.entries import Retry
from lanemesh_orchestrator.pipeline.faults import PipelineFault

LANES: Mapping[str, lane_pb2.LaneType.ValueType] = {
    name.removeprefix("LANE_TYPE_").lower(): value
    for name, value in lane_pb2.LaneType.items()
    if value != lane_pb2.LANE_TYPE_UNSPECIFIED
}
"""Lane types by the names that pipelines use, such as "questions"."""

LANE_NAMES: Mapping[int, str] = {value: name for name, value in LANES.items()}
"""Names of lane types."""

TRACE_LEVELS: Mapping[str, update_pb2.TraceLevel.ValueType] = {
    "none": update_pb2.TRACE_LEVEL_NONE,
    "metadata": update_pb2.TRACE_LEVEL_METADATA,
    "summary": update_pb2.TRACE_LEVEL_SUMMARY,
    "full": update_pb2.TRACE_LEVEL_FULL,
}
"""How much is reported of the items of a run, by the words that documents have for it."""

T = TypeVar("T")

MAX_DERIVED = 16
"""Most results that a graph keeps of what is derived from it."""

TRACE_WORDS = {level: word for word, level in TRACE_LEVELS.items()}
"""The words by the levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One node of the graph."""

    id: str
    """Unique within the pipeline."""
    pointer: str
    """Its place in the document, such as "/components/3"."""
    manifest: node_pb2.Manifest
    """Its node type."""
    config: str = field(default="{}", repr=False)
    """A JSON object, as text: profiles, variables and settings are put in. May hold secrets."""
    secret_pointers: Sequence[str] = ()
    """Its secret values: JSON pointers, some with a range of characters, from:to, of a string."""
    sync_mode: node_pb2.SyncMode.ValueType = node_pb2.SYNC_MODE_ON_ANY
    """When it fires."""
    timeout: float | None = None
    """Seconds that one firing, or the whole of `run`, may take; None: any time."""
    concurrency: int = 0
    """Maximum number of concurrent firings; 0: the default of the node type."""
    on_error: Literal["fail", "skip"] | Retry = "fail"
    """The reaction to a failed firing."""
    isolation: node_pb2.Isolation.ValueType = node_pb2.ISOLATION_UNSPECIFIED
    """Where its bodies run; unspecified: the default of the node type."""
    join_on: str = ""
    """If it joins: the output by whose items it pairs its own, as "component.port"; empty if no input gets several items."""
    helper: bool = False
    """It only serves control connections and never fires."""
    single_item_inputs: Sequence[str] = ()
    """Inputs that get at most one item, in the order of its edges."""
    name: str = ""
    """Name, for people."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The node server must have all of these."""
    result_name: str = ""
    """Of a target: the name of its result beside its id; empty: none."""

    @property
    def provider(self) -> str:
        """The node type's own name, also where the document uses an alias."""
        return self.manifest.provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A connection of an output to an input."""

    id: str
    """ "producer.output>consumer.input"."""
    producer: str
    output: str
    consumer: str
    input: str
    lane_type: lane_pb2.LaneType.ValueType
    """Type of the items; never unspecified."""
    pointer: str
    """Its place in the document, such as "/components/3/input/0"."""
    input_port: str = ""
    """The manifest's name of the input, where `input` is named after the lane instead."""
    output_port: str = ""
    """The manifest's name of the output, where `output` is named after the lane instead."""
    limit_items: int | None = None
    """Maximum number of items sent and not yet taken; None: the plan decides, by where its ends are."""
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    """Bytes in the consumer's inbox past which it reads no more."""
    serialize_groups: bool = False
    """The consumer gets the pieces of each group one after the other."""
    forks: Sequence[str] = ()
    """Outputs, as "component.port", whose numbers its items carry, since a join further down pairs by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A control connection of an invoker to a helper."""

    invoker: str
    helper: str
    class_type: str
    """The kind of helper, such as "llm"."""
    pointer: str
    """Its place in the document, such as "/components/3/control/0"."""
    name: str = ""
    """Name by which the invoker calls the helper; empty: it has no name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a run takes of a pipeline with several sources."""

    components: Mapping[str, Component]
    """By id, in the document's order."""
    edges: Sequence[Edge]
    """Those between its components."""
    controls: Sequence[Control]
    """Those between its components."""
    faults: Sequence[PipelineFault] = ()
    """Why it cannot run; empty if it can."""
    warnings: Sequence[PipelineFault] = ()
    """Its warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A valid pipeline."""

    components: Mapping[str, Component]
    """By id, in the document's order."""
    edges: Sequence[Edge] = ()
    """In the document's order."""
    controls: Sequence[Control] = ()
    """In the document's order."""
    source: str | None = None
    """The component that the client feeds; None if it feeds none, or several are possible."""
    sources: Sequence[str] = ()
    """Its sources: components that clients feed, and those that feed themselves, in the document's order."""
    default_source: str | None = None
    """The source of runs that name none; None: there is none, or they have to name one."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """With several sources: what a run takes that names one, by the source. Empty otherwise."""
    name: str = ""
    """Name, for people."""
    timeout: float | None = None
    """Seconds that a run may take in all; None: any time."""
    trace: str = "none"
    """How much is reported of each item that reaches a node: "none", "metadata", "summary" or "full"."""
    warnings: Sequence[PipelineFault] = ()
    """The warnings."""
    deployment: str = ""
    """Name of its deployment; empty if it is not deployed."""
    deployment_version: int = 0
    """Its version."""
    text: str = field(default="", repr=False)
    """The document without the secrets that are written out in it, as records and stores have it."""
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, name: Hashable, derive: Callable[[], T]) -> T:
        """What `derive` returns for this graph. It is called once for each name; the result must not be changed. Of more than 16
        results the oldest one is forgotten."""
        try:
            found: T = self._derived[name]
        except KeyError:
            found = self._derived[name] = derive()
            while len(self._derived) > MAX_DERIVED:
                self._derived.pop(next(iter(self._derived)), None)
        return found

    @property
    def source_outputs(self) -> Mapping[str, lane_pb2.LaneType.ValueType]:
        """The lane types of the outputs of the source, by name; empty without a source."""
        if self.source is None:
            return {}
        return {port.name: port.lane_type for port in self.components[self.source].manifest.outputs}

    @property
    def providers(self) -> Sequence[str]:
        """The node types that it needs, in alphabetical order."""
        return sorted({component.provider for component in self.components.values()})

    def secrets(self) -> Secrets:
        """The redaction of the secrets of its configs."""
        return secrets_of((component.config, component.secret_pointers) for component in self.components.values())

    @property
    def targets(self) -> Sequence[str]:
        """Components that deliver to the client."""
        boundary = node_pb2.BOUNDARY_TARGET
        return [component.id for component in self.components.values() if component.manifest.boundary == boundary]

    def shapes(self) -> Sequence[update_pb2.EdgeShape]:
        """Its edges, then its control connections (from invoker to helper), as clients draw them."""
        return self.once("shapes", self._shapes)

    def _shapes(self) -> Sequence[update_pb2.EdgeShape]:
        edges = [
            update_pb2.EdgeShape(
                edge_id=edge.id,
                producer=edge.producer,
                output=edge.output,
                consumer=edge.consumer,
                input=edge.input,
                lane_type=edge.lane_type,
            )
            for edge in self.edges
        ]
        controls = [
            update_pb2.EdgeShape(
                edge_id=control_edge_id(control.invoker, control.helper, control.class_type, control.name),
                producer=control.invoker,
                consumer=control.helper,
                class_type=control.class_type,
            )
            for control in self.controls
        ]
        return edges + controls
