"""From a document to a graph: everything resolved, or every fault at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from lanemesh.node.names import all_names, by_names
from lanemesh.v1 import node_pb2
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline import checks
from lanemesh_orchestrator.pipeline.component_settings import check_settings, settings_by_component
from lanemesh_orchestrator.pipeline.config import resolve_config, skips_itself
from lanemesh_orchestrator.pipeline.document import Document, DocumentComponent, Settings, parse
from lanemesh_orchestrator.pipeline.entries import RetryEntry
from lanemesh_orchestrator.pipeline.faults import MAX_FAULTS, PipelineFault, PipelineInvalid, Severity, in_order, quoted
from lanemesh_orchestrator.pipeline.graph import Component, Control, Graph, Part
from lanemesh_orchestrator.pipeline.multiplicity import reconverging
from lanemesh_orchestrator.pipeline.parts import analysed, default_source, is_fed, parts_of, with_faults
from lanemesh_orchestrator.pipeline.result_names import clashes, result_name
from lanemesh_orchestrator.pipeline.secrets import marks_secrets
from lanemesh_orchestrator.pipeline.variables import Insertions
from lanemesh_orchestrator.pipeline.wiring import Node, wire

Lacking = Callable[[str], Mapping[str, Collection[str]]]
"""Returns the missing Python packages of a node type, by the name of each server that offers it."""

_ISOLATIONS = {"thread": node_pb2.ISOLATION_THREAD, "process": node_pb2.ISOLATION_PROCESS}


def validate(
    text: str,
    manifests: Mapping[str, node_pb2.Manifest],
    *,
    environment: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    folder: str = "",
    mesh: str = "",
    lacking: Lacking | None = None,
    source: str = "",
) -> Graph:
    """The graph of a pipeline's text. Raises `PipelineInvalid` with every fault that it has.

    Relative paths in its configs count from `folder`, unless that is empty. `mesh` is the address of the orchestrator that reads
    it for a client; empty: the reader's own. `lacking` and `source` are those of `resolve`.
    """
    document = parse(text, environment=environment, settings=settings, folder=folder, mesh=mesh)
    graph = resolve(document, manifests, lacking, source)
    return replace(graph, text=_public(text, graph))


def resolve(
    document: Document, manifests: Mapping[str, node_pb2.Manifest], lacking: Lacking | None = None, source: str = ""
) -> Graph:
    """The graph of a document, with the node types by their names. Raises `PipelineInvalid` with every fault.

    Args:
        document: the document.
        manifests: the node types by provider.
        lacking: returns the missing Python packages of a node type on each server that offers it; None: there are no servers but
            those of this Python environment.
        source: the source that the run names: the graph then has no other part. Empty: none; then parts that cannot run are
            warnings if runs have a default source, or else faults.
    """
    faults = list(document.faults)
    named = by_names({component.entry.provider for component in document.components}, manifests)
    settings = settings_by_component(document.settings)
    insertions = Insertions()
    nodes: list[Node] = []
    for component in document.components:
        if len(faults) > MAX_FAULTS:
            raise PipelineInvalid(faults)
        own = settings.get(component.entry.id, {})
        node, found = _node(document, component, named, manifests, own, insertions)
        nodes.append(node)
        faults.extend(found)
    by_id, repeated = _by_id(nodes)
    faults.extend(repeated)
    faults.extend(check_settings(document.settings, by_id))
    edges, miswired = wire(nodes, by_id)
    controls, unhelped = _controls(nodes, by_id)
    sources, unsourced = checks.find_sources(document, nodes, by_id)
    circles = list(checks.cycles(nodes, by_id))
    faults.extend([*miswired, *unhelped, *unsourced, *circles])
    for node in nodes:
        faults.extend(checks.unconnected(node))
    lacks = [
        fault
        for node in nodes
        for fault in checks.missing_extra(node, lacking(node.manifest.provider) if lacking and node.manifest else None)
    ]
    components: Mapping[str, Component] = {}
    parts: Mapping[str, Part] = {}
    default = document.source
    if not miswired and not circles and not repeated and all(node.manifest and not node.lost_inputs for node in nodes):
        components = {node.id: _component(node) for node in nodes}
        forks = {node.id: entry.join_on for node in nodes if (entry := node.component.entry).join_on is not None}
        default = default or default_source(components.values())
        if len(sources) > 1:
            run = [name for name in sources if name == source] if source else sources
            parts, excess = parts_of(components, edges, controls, run, forks)
            parts = {name: with_faults(part, lacks) for name, part in parts.items()}
            faults.extend([*excess, *_of_parts(parts, source or default)])
        else:
            components, edges, unpaired = analysed(components, edges, forks)
            faults.extend([*lacks, *unpaired, *clashes(components)])
    else:
        faults.extend(lacks)
    if any(fault.severity is Severity.ERROR for fault in faults):
        raise PipelineInvalid(faults)

    if not parts:
        faults.extend(reconverging(components, edges))
    faults.extend(_idle_helpers(components, (edge.producer for edge in edges)))
    is_fed_one = default is not None and is_fed(components[default].manifest)
    return Graph(
        components=components,
        edges=edges,
        controls=controls,
        source=default if is_fed_one else None,
        sources=sources,
        default_source=default,
        parts=parts,
        name=document.name,
        timeout=document.timeout,
        trace=document.trace,
        warnings=in_order(faults),
    )


def _public(text: str, graph: Graph) -> str:
    """The text of a graph's document without the secrets that are written out in it."""
    types = {component.provider: component.manifest for component in graph.components.values()}
    if not any(marks_secrets(manifest.config_schema_json) for manifest in types.values()):
        return text
    from lanemesh_orchestrator.pipeline.redaction import without_secrets

    return without_secrets(text, types)


def _of_parts(parts: Mapping[str, Part], source: str | None) -> list[PipelineFault]:
    """The faults and warnings of the parts of a pipeline, each once. If runs have a source, those of other parts are warnings.

    Args:
        parts: the parts by their sources.
        source: the source of runs; None: each run names one.
    """
    found: dict[tuple[str, str, str], PipelineFault] = {}
    for name in sorted(parts, key=lambda name: name != source):
        part = parts[name]
        for fault in (*part.faults, *part.warnings):
            if source is not None and name != source:
                fault = replace(fault, severity=Severity.WARNING)
            found.setdefault((fault.pointer, fault.reason, fault.message), fault)
    return list(found.values())


def _controls(nodes: Sequence[Node], by_id: Mapping[str, Node]) -> tuple[Sequence[Control], Sequence[PipelineFault]]:
    if not any(node.component.controls or (node.manifest and node.manifest.invokes) for node in nodes):
        return (), ()
    from lanemesh_orchestrator.pipeline.controls import connect_helpers

    return connect_helpers(nodes, by_id)


def _node(
    document: Document,
    component: DocumentComponent,
    named: Mapping[str, node_pb2.Manifest],
    manifests: Mapping[str, node_pb2.Manifest],
    settings: Mapping[str, JsonValue],
    insertions: Insertions,
) -> tuple[Node, list[PipelineFault]]:
    entry = component.entry
    manifest = named.get(entry.provider)
    config = resolve_config(
        component,
        manifest,
        environment=document.environment,
        settings=settings,
        folder=document.folder,
        insertions=insertions,
    )
    faults = list(config.faults)
    node = Node(component, manifest, config.values, config.secret_pointers)
    if manifest is None and entry.provider:
        faults.append(checks.unknown_provider(node, all_names(manifests), document.mesh))
    faults.extend(checks.misfits(node))
    faults.extend(checks.misplaced(node, document.mesh))
    return node, faults


def _by_id(nodes: Sequence[Node]) -> tuple[dict[str, Node], list[PipelineFault]]:
    by_id: dict[str, Node] = {}
    faults = []
    for node in nodes:
        if not node.id:
            continue
        first = by_id.setdefault(node.id, node)
        if first is not node:
            message = f"The id {quoted(node.id)} is already used by {first.component.pointer}."
            hint = "Give each component a unique id."
            faults.append(PipelineFault(f"{node.component.pointer}/id", "duplicate-id", message, hint))
    return by_id, faults


def _component(node: Node) -> Component:
    entry, manifest = node.component.entry, node.manifest
    assert manifest is not None, "an unknown node type is a fault"
    policy = entry.on_error.retry if isinstance(entry.on_error, RetryEntry) else entry.on_error
    return Component(
        id=entry.id,
        pointer=node.component.pointer,
        manifest=manifest,
        config=json.dumps(node.config),
        secret_pointers=node.secret_pointers,
        sync_mode=node_pb2.SYNC_MODE_ON_ANY if manifest.is_streaming_input else node.sync_mode,
        timeout=entry.timeout,
        concurrency=entry.concurrency if "concurrency" in entry.model_fields_set else 0,
        on_error="fail" if skips_itself(node.component, manifest) else policy,
        isolation=_ISOLATIONS[entry.isolation] if entry.isolation else node_pb2.ISOLATION_UNSPECIFIED,
        helper=node.helper,
        name=entry.name,
        labels=entry.placement.labels if entry.placement is not None else {},
        result_name=result_name(manifest, node.config),
    )


def _idle_helpers(components: Mapping[str, Component], producers: Iterable[str]) -> list[PipelineFault]:
    """Warnings of lanes that begin at a component that never fires."""
    idle = [components[name] for name in dict.fromkeys(producers) if components[name].helper]
    message = "{} only serves control connections, because it has no input: its lanes carry no items."
    return [
        PipelineFault(
            component.pointer, "idle-producer", message.format(component.id), "Give it an input.", Severity.WARNING
        )
        for component in idle
    ]
