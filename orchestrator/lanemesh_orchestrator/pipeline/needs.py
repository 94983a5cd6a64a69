"""Which optional features of the protocol the components of a pipeline need of their servers. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lanemesh.features import Feature
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.graph import Graph


def needed_features(graph: Graph) -> Mapping[str, frozenset[Feature]]:
    """By component, the features without which a server cannot run it."""
    needs: dict[str, set[Feature]] = {name: set() for name in graph.components}
    for component in graph.components.values():
        if component.sync_mode == node_pb2.SYNC_MODE_JOIN:
            needs[component.id].add(Feature.JOINS)
        if component.isolation == node_pb2.ISOLATION_PROCESS:
            needs[component.id].add(Feature.ISOLATION)
    for edge in graph.edges:
        if edge.forks:
            needs[edge.producer].add(Feature.JOINS)
            needs[edge.consumer].add(Feature.JOINS)
        if edge.serialize_groups:
            needs[edge.consumer].add(Feature.GROUPS)
    return {name: frozenset(features) for name, features in needs.items()}
