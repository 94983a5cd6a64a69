"""The number of items on an edge: `one`, or `many`. A `zip_all` or `join` node reuses the item of a `one` input.

An output is `one` if its node type declares it, or if it belongs to a `process` node that fires once: without inputs, with list
inputs only, or with `zip_all` or `join` over inputs that are `one` or lists. Every other output is `many`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.faults import PipelineFault, Severity, listed
from lanemesh_orchestrator.pipeline.graph import Component, Edge


def single_item_inputs(components: Mapping[str, Component], edges: Sequence[Edge]) -> dict[str, list[str]]:
    """For each component the inputs, by their names in the run, that get at most one item."""
    incoming, ones = incoming_edges(edges), dict[str, list[str]]()
    fires_once: dict[str, bool] = {}
    for name in producers_first(components, edges):
        component = components[name]
        ports: dict[str, list[Edge]] = defaultdict(list)
        for edge in incoming[name]:
            ports[edge.input].append(edge)
        ones[name] = [
            port
            for port, feeding in ports.items()
            if len(feeding) == 1
            and _is_one(components[feeding[0].producer], feeding[0].output_port, fires_once[feeding[0].producer])
        ]
        fires_once[name] = _fires_once(component, ports, ones[name])
    return ones


def reconverging(components: Mapping[str, Component], edges: Sequence[Edge]) -> Iterator[PipelineFault]:
    """Warnings of `zip_all` inputs whose paths begin at one component: they may get unequally many items."""
    incoming, order = incoming_edges(edges), {name: index for index, name in enumerate(components)}
    for component in components.values():
        if component.sync_mode != node_pb2.SYNC_MODE_ZIP_ALL or component.helper:
            continue
        many = [edge for edge in incoming[component.id] if edge.input not in component.single_item_inputs]
        if len({edge.input for edge in many}) < 2 or len({(edge.producer, edge.output) for edge in many}) < 2:
            continue
        above: dict[str, set[str]] = defaultdict(set)
        for edge in many:
            above[edge.input] |= ancestors(edge.producer, incoming)
        common = set.intersection(*above.values())
        if common:
            forks = sorted(common, key=lambda name: order[name])
            message = (
                f"{component.id} takes its inputs in lockstep, but paths from {listed(forks[-1:])} meet there: if "
                "one of them drops or adds an item, unrelated items are paired."
            )
            hint = "Use `join`, which pairs items that descend from the same item, or check that no path drops or adds items."
            yield PipelineFault(component.pointer, "reconverging-zip", message, hint, Severity.WARNING)


def incoming_edges(edges: Sequence[Edge]) -> dict[str, list[Edge]]:
    incoming: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        incoming[edge.consumer].append(edge)
    return incoming


def producers_first(components: Mapping[str, Component], edges: Sequence[Edge]) -> Iterator[str]:
    """The components of a graph without cycles, each after those that feed it."""
    from graphlib import TopologicalSorter

    feeding: dict[str, set[str]] = {name: set() for name in components}
    for edge in edges:
        feeding[edge.consumer].add(edge.producer)
    return iter(TopologicalSorter(feeding).static_order())


def _is_one(producer: Component, output: str, fires_once: bool) -> bool:
    declared = {port.name: port.multiplicity for port in producer.manifest.outputs}.get(output)
    if declared in (node_pb2.MULTIPLICITY_ONE, node_pb2.MULTIPLICITY_MANY):
        return declared == node_pb2.MULTIPLICITY_ONE
    return fires_once


def _fires_once(component: Component, ports: Mapping[str, Sequence[Edge]], ones: Sequence[str]) -> bool:
    manifest = component.manifest
    if manifest.is_streaming_input or manifest.is_streaming_output or manifest.boundary == node_pb2.BOUNDARY_SOURCE:
        return False
    lists = {port.name for port in manifest.inputs if port.list}
    others = [port for port, feeding in ports.items() if feeding[0].input_port not in lists]
    if not others:
        return True
    return component.sync_mode != node_pb2.SYNC_MODE_ON_ANY and set(others) <= set(ones)


def ancestors(name: str, incoming: Mapping[str, Sequence[Edge]]) -> set[str]:
    """A component, and all components upstream of it."""
    found, rest = {name}, [name]
    while rest:
        for edge in incoming.get(rest.pop(), ()):
            if edge.producer not in found:
                found.add(edge.producer)
                rest.append(edge.producer)
    return found
