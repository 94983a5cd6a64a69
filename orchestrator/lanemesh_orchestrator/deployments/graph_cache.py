"""The graph of a deployed pipeline: read when it is deployed, and again only when its node types have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lanemesh.v1 import node_pb2, run_pb2

from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.registry.registry import Registry


class NodeTypes:
    """The node types of a mesh, collected again only when a server has joined or left."""

    def __init__(self, registry: Registry, manifests: Callable[[], Mapping[str, node_pb2.Manifest]]) -> None:
        self._registry = registry
        self._manifests = manifests
        self._version = -1
        self._types: Mapping[str, node_pb2.Manifest] = {}

    def now(self) -> Mapping[str, node_pb2.Manifest]:
        """The node types, by provider: the same mapping until something changes."""
        version = self._registry.version
        if version != self._version:
            self._types, self._version = self._manifests(), version
        return self._types


class GraphCache:
    """A spec and the graph of it."""

    def __init__(self, spec: run_pb2.RunSpec, read: Callable[[run_pb2.RunSpec], Graph], types: NodeTypes) -> None:
        self._spec = spec
        self._read = read
        self._types = types
        self._graph: Graph | None = None
        self._seen: Mapping[str, node_pb2.Manifest] | None = None

    def graph(self) -> Graph:
        """The graph. Raises PipelineInvalid with every fault, such as a node type without a server."""
        types = self._types.now()
        if self._graph is None or (types is not self._seen and not _fits(self._graph, types)):
            self._graph = None
            self._graph = self._read(self._spec)
        self._seen = types
        return self._graph


def _fits(graph: Graph, types: Mapping[str, node_pb2.Manifest]) -> bool:
    """Whether the node types of a graph have not changed since it was read."""
    return all(types.get(component.provider) == component.manifest for component in graph.components.values())
