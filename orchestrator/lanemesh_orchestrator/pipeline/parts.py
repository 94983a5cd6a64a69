"""The parts of a pipeline with several sources: what a run takes that names one of them. Pure functions over plain values.

A part has its source, all that is downstream of it, the helpers that these components call, and the components without any source
upstream whose items reach one of them, or no component at all. The rest is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from lanemesh.v1 import node_pb2, run_pb2

from lanemesh_orchestrator.pipeline.faults import PipelineFault, PipelineInvalid, Severity, in_order, listed, quoted
from lanemesh_orchestrator.pipeline.graph import Component, Control, Edge, Graph, Part
from lanemesh_orchestrator.pipeline.multiplicity import reconverging, single_item_inputs
from lanemesh_orchestrator.pipeline.result_names import clashes
from lanemesh_orchestrator.pipeline.source import reached

CHAT = "chat"
"""The node type of the source of conversations."""

MAX_SOURCES = 64
"""Most sources of a pipeline."""
MAX_PART_COMPONENTS = 20_000
"""Most components of all parts of a pipeline: twice the most components of a document."""


def is_fed(manifest: node_pb2.Manifest) -> bool:
    """Whether clients feed components of a node type."""
    return manifest.boundary == node_pb2.BOUNDARY_SOURCE


def is_source(manifest: node_pb2.Manifest) -> bool:
    """Whether a node type is a source: clients feed it, or it feeds itself, such as a timer."""
    return is_fed(manifest) or manifest.feeds_itself


def parts_of(
    components: Mapping[str, Component],
    edges: Sequence[Edge],
    controls: Sequence[Control],
    sources: Sequence[str],
    join_on: Mapping[str, str],
) -> tuple[Mapping[str, Part], list[PipelineFault]]:
    """The parts of sources, each with the properties that depend on its whole and its own faults; or the fault of too many.

    Args:
        components: those of the whole pipeline, which is well wired.
        edges: those of the whole pipeline.
        controls: those of the whole pipeline.
        sources: the ids of some of its sources.
        join_on: the forks that the document names, by the join.
    """
    whole = _Whole(components, edges, controls)
    taken: dict[str, set[str]] = {}
    for source in sources:
        taken[source] = whole.reached_by_run(source)
        if sum(map(len, taken.values())) > MAX_PART_COMPONENTS and len(taken) > 1:
            message = (
                f"What runs of the {len(sources)} sources take has more than {MAX_PART_COMPONENTS:,} components in all "
                "(MAX_PART_COMPONENTS)."
            )
            return {}, [PipelineFault("/components", "too-large", message, "Split the pipeline by its sources.")]
    return {source: whole.part(source, ids, join_on) for source, ids in taken.items()}, []


class _Whole:
    """The graph of a whole pipeline."""

    def __init__(self, components: Mapping[str, Component], edges: Sequence[Edge], controls: Sequence[Control]) -> None:
        self._components, self._edges, self._controls = components, edges, controls
        self._consumers: dict[str, list[str]] = defaultdict(list)
        self._producers: dict[str, list[str]] = defaultdict(list)
        self._feeding: dict[tuple[str, str], list[str]] = defaultdict(list)
        """The producers of each connected input."""
        for edge in edges:
            self._consumers[edge.producer].append(edge.consumer)
            self._producers[edge.consumer].append(edge.producer)
            self._feeding[edge.consumer, edge.input_port or edge.input].append(edge.producer)
        self._helpers: dict[str, list[str]] = defaultdict(list)
        for control in controls:
            self._helpers[control.invoker].append(control.helper)
        sources = [name for name, one in components.items() if is_source(one.manifest) and not one.helper]
        sourced = reached(sources, self._consumers)
        self._unsourced = [name for name, one in components.items() if name not in sourced and not one.helper]
        """Components without a source upstream."""
        self._feeding_any = reached(sourced, self._producers)

    def reached_by_run(self, source: str) -> set[str]:
        """The components that a run of this source takes."""
        taken = reached([source], self._consumers)
        feeding = reached(taken, self._producers) if self._unsourced else taken
        taken.update(name for name in self._unsourced if name in feeding or name not in self._feeding_any)
        return reached(taken, self._helpers)

    def part(self, source: str, ids: Collection[str], join_on: Mapping[str, str]) -> Part:
        """The part that has these components."""
        edges = [edge for edge in self._edges if edge.producer in ids and edge.consumer in ids]
        controls = [control for control in self._controls if control.invoker in ids and control.helper in ids]
        fed, helps = {edge.consumer for edge in edges}, {control.helper for control in controls}
        own = {
            name: component if component.helper or name not in helps - fed else replace(component, helper=True)
            for name, component in self._components.items()
            if name in ids
        }
        faults = [*self._left_out(own, edges, source), *clashes(own)]
        own, edges, found = analysed(own, edges, {name: fork for name, fork in join_on.items() if name in own})
        faults += [fault for fault in found if fault.severity is Severity.ERROR]
        warnings = [fault for fault in found if fault.severity is not Severity.ERROR]
        warnings += reconverging(own, edges)
        return Part(components=own, edges=edges, controls=controls, faults=faults, warnings=warnings)

    def _left_out(self, own: Mapping[str, Component], kept: Sequence[Edge], source: str) -> Iterator[PipelineFault]:
        """Required inputs whose producers are all left out."""
        connected = {(edge.consumer, edge.input_port or edge.input) for edge in kept}
        for component in own.values():
            for port in component.manifest.inputs if not component.helper else ():
                producers = self._feeding.get((component.id, port.name))
                if not port.required or not producers or (component.id, port.name) in connected:
                    continue
                what = f'"{port.name}"' if port.name else "its input"
                message = (
                    f"{component.id} ({component.provider}) needs {what}, which comes from {listed(producers)}: a run of the "
                    f"source {source} leaves that out, because it is not reached from there."
                )
                hint = f"Connect {what} to a component that {source} reaches, or use a component of its own for each source."
                yield PipelineFault(component.pointer, "required-input-left-out", message, hint)


def analysed(
    components: Mapping[str, Component], edges: Sequence[Edge], join_on: Mapping[str, str]
) -> tuple[dict[str, Component], list[Edge], Sequence[PipelineFault]]:
    """The components and edges of a complete graph, with the properties that depend on all of it, and the faults of its joins.
    `join_on` has the forks that the document names, by the join."""
    ones = single_item_inputs(components, edges)
    own = {
        name: replace(component, single_item_inputs=ones[name]) if ones[name] else component
        for name, component in components.items()
    }
    if all(component.sync_mode != node_pb2.SYNC_MODE_JOIN for component in own.values()):
        return own, list(edges), ()
    from lanemesh_orchestrator.pipeline.joins import find_forks

    found = find_forks(own, edges, join_on)
    return found.components, found.edges, found.faults


def with_faults(part: Part, faults: Iterable[PipelineFault]) -> Part:
    """The part with those of the faults of a whole pipeline whose pointers name a field of one of its components."""
    places = {component.pointer for component in part.components.values()}
    own = [fault for fault in faults if fault.pointer.rpartition("/")[0] in places]
    return replace(part, faults=[*part.faults, *own]) if own else part


def default_source(components: Iterable[Component]) -> str | None:
    """The source of a run that names none, where the document names none: the only one that clients feed, or if there is none of
    these the only one that feeds itself. None: there is none, or several."""
    sources = [one for one in components if is_source(one.manifest) and not one.helper]
    fed = [one for one in sources if is_fed(one.manifest)] or sources
    return fed[0].id if len(fed) == 1 else None


def run_graph(graph: Graph, source: str = "") -> Graph:
    """The graph of a run: the part of the pipeline that belongs to its source.

    Args:
        graph: the whole pipeline.
        source: the id of a source of it; empty: the default one.

    Raises:
        PipelineInvalid: it is no source of the pipeline ("not-a-source"), none is named and several are possible
            ("several-sources"), or its part is invalid.
    """
    if source and source not in graph.sources:
        known = f"Sources: {listed(graph.sources)}." if graph.sources else "The pipeline has none: name none."
        message = f"{quoted(source)} is not a source of the pipeline, so a run cannot name it."
        raise PipelineInvalid([PipelineFault("/components", "not-a-source", message, known)])
    name = source or graph.default_source or ""
    if not graph.parts:
        return graph
    if not name:
        raise PipelineInvalid([several_sources(graph.sources)])
    return graph.once(("part", name), lambda: _part_of(graph, name))


def _part_of(graph: Graph, name: str) -> Graph:
    part = graph.parts[name]
    if part.faults:
        raise PipelineInvalid(in_order(part.faults))
    return replace(
        graph,
        components=part.components,
        edges=part.edges,
        controls=part.controls,
        source=name if is_fed(graph.components[name].manifest) else None,
        warnings=in_order([*graph.warnings, *(one for one in part.warnings if one not in graph.warnings)]),
        parts={},
    )


def run_graph_of(graph: Graph, spec: run_pb2.RunSpec) -> Graph:
    """The graph of a run by its spec: that of the named source; without one, a turn of a conversation takes the only `chat`, if the
    pipeline has one. Raises as `run_graph`."""
    source = spec.source_component
    if not source and graph.parts and spec.HasField("conversation"):
        chats = [name for name in graph.sources if graph.components[name].provider == CHAT]
        source = chats[0] if len(chats) == 1 else ""
    return run_graph(graph, source)


def several_sources(sources: Sequence[str]) -> PipelineFault:
    """The fault of a run that names no source, where several are possible."""
    message = f"The pipeline has several sources, and the run names none: {listed(sources)}."
    hint = f'Name the one to run: --source {sources[0]}, or `source` in a request; or write "source" in the document.'
    return PipelineFault("/components", "several-sources", message, hint)
