"""Which components can be placed again when their server is lost in the middle of a run, and which of them need to be. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from lanemesh.features import Feature
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.graph import Component, Edge, Graph
from lanemesh_orchestrator.pipeline.multiplicity import ancestors, incoming_edges, producers_first


class HasFeatures(Protocol):
    """A server, by what it supports."""

    @property
    def features(self) -> Collection[str]:
        """The features of the protocol that it supports."""


def without_recovery(servers: Mapping[str, HasFeatures]) -> set[str]:
    """The components whose server lacks the feature "recovery"."""
    return {name for name, server in servers.items() if Feature.RECOVERY not in server.features}


def recovery_blockers(graph: Graph, without: Collection[str] = ()) -> Mapping[str, str]:
    """By component, why it cannot be placed again, as a text that follows its name; empty if it can. The servers of the components
    `without` lack the feature "recovery".

    It can if nothing but the items that it has not processed is lost with it: its firings know nothing of each other, and how
    many of the items of each edge are processed is a number.
    """
    incoming = incoming_edges(graph.edges)
    carrying = {name for edge in graph.edges if edge.forks for name in (edge.producer, edge.consumer)}
    found = {
        name: _blocker(component, incoming[name], incoming, carrying) for name, component in graph.components.items()
    }
    return {**found, **_of_servers(graph, without, found)} if without else found


def _of_servers(graph: Graph, without: Collection[str], found: Mapping[str, str]) -> dict[str, str]:
    """The same for components that could be placed again if their server, or that of a neighbour, had the feature."""
    more: dict[str, str] = {}
    for edge in graph.edges:
        for name, other in ((edge.producer, edge.consumer), (edge.consumer, edge.producer)):
            if not found[name] and name in without:
                more[name] = 'is on a server without the feature "recovery"'
            elif not found[name] and other in without:
                more.setdefault(name, f'exchanges items with {other}, whose server lacks the feature "recovery"')
    return more


def settled(graph: Graph, lost: Collection[str], done: Collection[str]) -> set[str]:
    """Those of the lost components that have nothing left to do. `done` are the edges that need no other end."""
    incoming = incoming_edges(graph.edges)
    found: set[str] = set()
    for name in producers_first(graph.components, graph.edges):
        if name in lost and all(edge.id in done or edge.producer in found for edge in incoming[name]):
            found.add(name)
    return found


def delivered(graph: Graph, lost: Collection[str], done: Collection[str]) -> set[str]:
    """Those of the lost components whose outputs have all arrived at components that are not lost. `done` are the edges that need
    no other end."""
    outgoing: dict[str, list[Edge]] = defaultdict(list)
    for edge in graph.edges:
        outgoing[edge.producer].append(edge)
    found: set[str] = set()
    for name in reversed(list(producers_first(graph.components, graph.edges))):
        edges = outgoing[name]
        if name in lost and edges and all(edge.id in done or edge.consumer in found for edge in edges):
            found.add(name)
    return found


def delivered_unkept(graph: Graph, lost: Collection[str], done: Collection[str], unkept: Collection[str]) -> set[str]:
    """Those of the lost components `unkept` whose outputs have all arrived, and the lost components that these outputs have passed
    through. The other lost ones of `unkept` need items again that no server keeps."""
    arrived = delivered(graph, lost, done)
    incoming = incoming_edges(graph.edges)
    found: set[str] = set()
    for name in producers_first(graph.components, graph.edges):
        if name in arrived and (name in unkept or any(edge.producer in found for edge in incoming[name])):
            found.add(name)
    return found


def consumers_beyond(graph: Graph, producers: Collection[str], done: Collection[str]) -> dict[str, str]:
    """The other components that get no more items from one of these producers, as their edge is `done`; each with this producer."""
    return {
        edge.consumer: edge.producer
        for edge in graph.edges
        if edge.id in done and edge.producer in producers and edge.consumer not in producers
    }


def _blocker(
    component: Component, feeding: Sequence[Edge], incoming: Mapping[str, Sequence[Edge]], carrying: Collection[str]
) -> str:
    manifest = component.manifest
    if component.helper:
        return "is a helper"
    if manifest.boundary:
        return "runs in the orchestrator"
    if not manifest.restartable:
        return "is of a node type that is not restartable"
    if manifest.is_streaming_input:
        return "reads its own inputs"
    if component.sync_mode != node_pb2.SYNC_MODE_ON_ANY:
        return "pairs items"
    if component.concurrency > 1:
        return "has concurrent firings"
    if len({edge.input for edge in feeding}) != 1:
        return "has several inputs" if feeding else "has no input"
    port = next((port for port in manifest.inputs if port.name == (feeding[0].input_port or feeding[0].input)), None)
    if port is not None and (port.list or port.assembled):
        return "collects what comes"
    if any(edge.serialize_groups for edge in feeding):
        return "has an input with `merge: group`"
    if component.id in carrying:
        return "passes on the sequence tags of a join"
    if not manifest.is_streaming_output and _reconverging(feeding, incoming):
        return "passes on groups of several edges"
    return ""


def _reconverging(feeding: Sequence[Edge], incoming: Mapping[str, Sequence[Edge]]) -> bool:
    """Paths from one component meet in these edges."""
    if len(feeding) < 2:
        return False
    above = [ancestors(edge.producer, incoming) for edge in feeding]
    return sum(map(len, above)) > len(set().union(*above))
