"""Joins: the fork of each join, and the edges that carry its sequence tags.

A component passes the tags of the items that it takes to the items that it sends. List inputs collect items of several tags and
pass on none. A `one` input is reused beside others, so only the other inputs count. By all other inputs an item descends from the
items taken there. An assembled whole descends from the common origin of its pieces, and not from any one of them. The *fork* of a
join is the nearest output from which all of its inputs descend: one from which no other such output descends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lanemesh.v1 import lane_pb2, node_pb2

from lanemesh_orchestrator.pipeline.faults import PipelineFault, Severity, listed, nearest, quoted
from lanemesh_orchestrator.pipeline.graph import Component, Edge
from lanemesh_orchestrator.pipeline.multiplicity import incoming_edges, producers_first

MAX_CARRYING = 100_000
"""Most edges on the paths from forks to their joins, counted for each join. Each of these edges carries the fork."""


@dataclass(slots=True)
class Joins:
    """The resolved joins of a graph."""

    components: dict[str, Component]
    """All components; each join with the fork that was found for it."""
    edges: list[Edge]
    """All edges; each with the forks whose numbers it carries."""
    faults: list[PipelineFault] = field(default_factory=list)
    """Joins without a fork, and warnings of those that may get several items of one number by several inputs."""


def find_forks(
    components: Mapping[str, Component], edges: Sequence[Edge], join_on: Mapping[str, str] | None = None
) -> Joins:
    """Finds the fork of every join. `join_on` has, by component, the forks that the document names."""
    found = Joins(dict(components), list(edges))
    joins = [
        component
        for component in components.values()
        if component.sync_mode == node_pb2.SYNC_MODE_JOIN and not component.helper
    ]
    if not joins:
        return found
    descent = _Descent(components, edges)
    forks: dict[str, set[str]] = defaultdict(set)
    carried = 0
    for join in joins:
        fork, fault = _fork(join, descent, (join_on or {}).get(join.id))
        if fault is not None:
            found.faults.append(fault)
        if fork is None:
            continue
        found.components[join.id] = replace(join, join_on=fork)
        carrying = descent.carrying(join.id, fork)
        carried += len(carrying)
        if carried > MAX_CARRYING:
            message = f"There are more than {MAX_CARRYING:,} edges between joins and their forks (MAX_CARRYING)."
            hint = "Split the pipeline, or join nearer to the forks."
            return Joins(dict(components), list(edges), [PipelineFault("/components", "too-large", message, hint)])
        for edge in carrying:
            forks[edge.id].add(fork)
        found.faults.extend(_several(join, fork, carrying, descent))
    found.edges = [replace(edge, forks=sorted(forks[edge.id])) if edge.id in forks else edge for edge in edges]
    return found


class _Descent:
    """From which outputs the items of which edges descend."""

    def __init__(self, components: Mapping[str, Component], edges: Sequence[Edge]) -> None:
        self.components = components
        incoming = incoming_edges(edges)
        self.connected: Mapping[str, Sequence[Edge]] = {
            name: _without_lists(component, incoming[name]) for name, component in components.items()
        }
        """Of each component the edges into inputs that collect no lists."""
        self.tracker: Mapping[str, Sequence[Edge]] = {
            name: _without_reused(components[name], fed) for name, fed in self.connected.items()
        }
        """For each component the edges whose sequence tags it passes on."""
        self.outputs: list[str] = []
        """Every output with an edge, each behind those from which it descends."""
        self._bits: dict[str, int] = {}
        self._above: dict[str, int] = {}
        self._omits_pieces = False
        """Some items do not descend from the outputs that made their pieces, although what they descend from does."""
        leaving: dict[str, dict[str, None]] = defaultdict(dict)
        for edge in edges:
            leaving[edge.producer][output_of(edge)] = None
        for name in producers_first(components, edges):
            above = 0
            for edge in self.tracker[name]:
                above |= self._over(edge)
            for output in leaving[name]:
                self._bits[output] = 1 << len(self.outputs)
                self._above[output] = above | self._bits[output]
                self.outputs.append(output)
        self._order = {output: index for index, output in enumerate(self.outputs)}

    def _over(self, edge: Edge) -> int:
        """The outputs from which the items of an edge descend, as bits."""
        above = self._above[output_of(edge)]
        if edge.lane_type != lane_pb2.LANE_TYPE_ANSWERS or not is_assembled(edge, self.components):
            return above
        self._omits_pieces = True
        rest, seen = [edge], set[str]()
        while rest:  # up to the output that makes the pieces, each piece has another tag
            piece = rest.pop()
            if piece.id in seen:
                continue
            seen.add(piece.id)
            above &= ~self._bits[output_of(piece)]
            manifest = self.components[piece.producer].manifest
            if not manifest.is_streaming_input and not manifest.is_streaming_output:
                rest.extend(before for before in self.tracker[piece.producer] if before.lane_type == piece.lane_type)
        return above

    def shared(self, edges: Sequence[Edge]) -> int:
        """The outputs from which the items of all these edges descend, as bits."""
        if not edges:
            return 0
        shared = -1
        for edge in edges:
            shared &= self._over(edge)
        return shared

    def has(self, shared: int, output: str) -> bool:
        """Whether an output is among these."""
        return bool(self._bits.get(output, 0) & shared)

    def names(self, shared: int) -> list[str]:
        """These outputs, the nearest ones first."""
        return [output for output in reversed(self.outputs) if self._bits[output] & shared]

    def nearest(self, shared: int) -> list[str]:
        """Those of some outputs from which none of the others descends."""
        found: list[str] = []
        passed, rest = 0, shared
        while rest:
            output = self.outputs[rest.bit_length() - 1]
            if not self._bits[output] & passed:
                found.append(output)
            passed |= self._above[output]
            # What another one descends from is passed as well, unless it omits pieces.
            rest &= ~self._bits[output] if self._omits_pieces else ~passed
        return found[::-1]

    def carrying(self, join: str, fork: str) -> list[Edge]:
        """The edges on the paths from a fork to a join, each after the edges that precede it."""
        found: dict[str, Edge] = {}
        rest = list(self.tracker[join])
        while rest:
            edge = rest.pop()
            if edge.id in found or not self._over(edge) & self._bits[fork]:
                continue
            found[edge.id] = edge
            if output_of(edge) != fork:
                rest.extend(self.tracker[edge.producer])
        return sorted(found.values(), key=lambda edge: self._order[output_of(edge)])


def output_of(edge: Edge) -> str:
    """The output by which an edge leaves, as "component.port"."""
    return f"{edge.producer}.{edge.output}"


def is_assembled(edge: Edge, components: Mapping[str, Component]) -> bool:
    """Whether the pieces of one whole are put together where an edge ends."""
    ports = components[edge.consumer].manifest.inputs
    return any(port.name == edge.input_port and port.assembled for port in ports)


def _without_lists(component: Component, edges: Sequence[Edge]) -> list[Edge]:
    lists = {port.name for port in component.manifest.inputs if port.list}
    return [edge for edge in edges if edge.input_port not in lists]


def _without_reused(component: Component, edges: Sequence[Edge]) -> list[Edge]:
    return [edge for edge in edges if edge.input not in component.single_item_inputs] or list(edges)


def _fork(join: Component, descent: _Descent, named: str | None) -> tuple[str | None, PipelineFault | None]:
    """The output whose items a join pairs by; None if there is a fault, or if each input gets only one item."""
    fed = descent.connected[join.id]
    connected = {edge.input for edge in fed}
    if len(connected) < 2:
        wanted = {port.name for port in join.manifest.inputs if port.required and not port.list}
        if wanted - {edge.input_port for edge in fed}:
            return None, None  # reported as an unconnected input
        what = f"only {quoted(next(iter(connected)))} is connected" if connected else "none is connected"
        message = f"{join.id} pairs items of several inputs by their origin, but {what}."
        hint = 'Connect another input, or remove `"sync_mode": "join"`.'
        return None, PipelineFault(join.pointer, "join-inputs", message, hint)
    many = [edge for edge in descent.tracker[join.id] if edge.input not in join.single_item_inputs]
    shared = descent.shared(many)
    if named is not None:
        if descent.has(shared, named):
            return named, None
        return None, _not_common(join, named, descent.names(shared), descent)
    if not many:
        return None, None
    nearest_ones = descent.nearest(shared)
    if len(nearest_ones) == 1:
        return nearest_ones[0], None
    if nearest_ones:
        reason = f"Several are equally near: {listed(nearest_ones)}."
        hint = f'Name one of them, such as "join_on": "{nearest_ones[0]}".'
        return None, PipelineFault(join.pointer, "join-ambiguous", f"{_pairs(join)}. {reason}", hint)
    return None, _no_fork(join, many, descent)


def _pairs(join: Component) -> str:
    return f"{join.id} pairs items that descend from the same item of an output above all of its inputs"


def _not_common(join: Component, named: str, common: Sequence[str], descent: _Descent) -> PipelineFault:
    pointer = f"{join.pointer}/join_on"
    if not common:
        several = f"The inputs of {join.id} that get several items"
        message = f"{several} do not all descend from {quoted(named)}, nor from any other output."
        hint = "Lists on a path collect across items; use `zip_all` to pair by order."
        return PipelineFault(pointer, "join-no-fork", message, hint)
    near = nearest(named, common)
    hint = f"Nearest: {near}." if near else f"They descend from: {listed(common)}."
    if named not in descent.outputs:
        message = f"There is no output {quoted(named)} with an edge; `join_on` has the form component.output."
    else:
        message = f"The inputs of {join.id} do not all descend from {quoted(named)}."
    return PipelineFault(pointer, "join-no-fork", message, hint)


def _no_fork(join: Component, many: Sequence[Edge], descent: _Descent) -> PipelineFault:
    """Lists for each input the outputs from which it descends, nearest first."""
    ports: dict[str, list[Edge]] = defaultdict(list)
    for edge in many:
        ports[edge.input].append(edge)
    sides = [f"{name} from {listed(descent.names(descent.shared(fed)), 4)}" for name, fed in ports.items()]
    message = f"{_pairs(join)}, but there is none: {'; '.join(sides)}."
    hint = "A list input on a path ends it, because it collects several items. Use `zip_all` to pair by order."
    return PipelineFault(join.pointer, "join-no-fork", message, hint)


def _several(join: Component, fork: str, carrying: Sequence[Edge], descent: _Descent) -> Iterator[PipelineFault]:
    """A warning if several inputs may get several items of one number."""
    multiplying = _Multiplying(fork, carrying, descent.components)
    causes = {
        port: cause
        for port in dict.fromkeys(edge.input for edge in descent.tracker[join.id])
        if (cause := multiplying.at(join.id, port))
    }
    if len(causes) < 2:
        return
    sides = "; ".join(f"{port}, by {cause}" for port, cause in causes.items())
    message = (
        f"{join.id} pairs by the items of {fork}, and several of its inputs may get more than one item for one of them: {sides}. "
        "A run fails if two of them do."
    )
    hint = "Collect or assemble the items on the other paths."
    yield PipelineFault(join.pointer, "join-several", message, hint, Severity.WARNING)


class _Multiplying:
    """Where paths from a fork may make several items of one."""

    def __init__(self, fork: str, carrying: Sequence[Edge], components: Mapping[str, Component]) -> None:
        self._fork = fork
        self._components = components
        self._into: dict[str, dict[str, list[Edge]]] = defaultdict(lambda: defaultdict(list))
        for edge in carrying:
            self._into[edge.consumer][edge.input].append(edge)
        self._causes: dict[str, str] = {}
        for edge in carrying:  # those before it are known by then
            self._causes[edge.id] = self._cause(edge)

    def at(self, component: str, port: str) -> str:
        """The component that may send several items for one number into an input; empty if none does."""
        fed = self._into[component][port]
        if len(fed) > 1:
            return f"the merge of {listed([edge.producer for edge in fed], 3)}"
        return next((cause for edge in fed if (cause := self._causes[edge.id])), "")

    def _cause(self, edge: Edge) -> str:
        if output_of(edge) == self._fork:
            return ""
        producer = self._components[edge.producer]
        manifest = producer.manifest
        declared = {port.name: port.multiplicity for port in manifest.outputs}.get(edge.output_port)
        if declared == node_pb2.MULTIPLICITY_ONE:
            return ""
        ports = self._into[producer.id]
        if manifest.is_streaming_input or (manifest.is_streaming_output and not is_assembled(edge, self._components)):
            return producer.id
        if len(ports) > 1 and producer.sync_mode == node_pb2.SYNC_MODE_ON_ANY:
            return producer.id
        return next((cause for port in list(ports) if (cause := self.at(producer.id, port))), "")
