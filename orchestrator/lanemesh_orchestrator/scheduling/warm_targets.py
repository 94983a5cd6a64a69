"""Selects the servers that keep a pipeline warm, and builds the `Place` request for each of them. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lanemesh.features import Feature
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.pipeline.plan import instance_of, needed_features
from lanemesh_orchestrator.scheduling.requirements import Requirement, Server, takes

MAX_SERVERS = 8
"""Most servers that keep one component warm."""


def servers_of(
    graph: Graph,
    servers: Sequence[Server],
    *,
    local: str,
    embedded: bool,
    homes: Mapping[str, str],
    kept: Collection[str] = (),
) -> dict[str, list[str]]:
    """The servers that keep each component warm: every server that a run may use for it, at most 8; empty if there is none.

    Args:
        servers: the known servers, in the order in which they joined.
        local: name of the orchestrator's own host, which runs boundary components, and if `embedded` all without a home.
        homes: the required server of a component, where there is one.
        kept: servers that already keep a part of the pipeline warm; they are preferred if there are more than 8.
    """
    found: dict[str, list[str]] = {}
    needed = needed_features(graph)
    in_order = sorted(servers, key=lambda server: server.name not in kept)
    for component in graph.components.values():
        home = homes.get(component.id)
        if component.manifest.boundary or (embedded and home is None):
            found[component.id] = [local]
            continue
        features = frozenset[str](needed[component.id])
        requirement = Requirement(component.id, component.provider, component.labels, home or "", features)
        found[component.id] = [
            server.name for server in in_order if takes(server, requirement) and not server.is_silent
        ][:MAX_SERVERS]
    return found


def places(
    graph: Graph, servers: Mapping[str, Sequence[str]], without_preload: Collection[str] = ()
) -> dict[str, node_pb2.Place]:
    """The request to keep components warm for each server, by its name, without the request's id.

    Args:
        servers: the servers that keep each component warm.
        without_preload: servers without the feature "preload". They get no request; a run loads its components itself there.
    """
    found: dict[str, node_pb2.Place] = {}
    for component in graph.components.values():
        for name in servers[component.id]:
            if name in without_preload:
                continue
            if name not in found:
                found[name] = node_pb2.Place(
                    protocol_version=PROTOCOL_VERSION, keep_warm=True, features=[Feature.PRELOAD], server=name
                )
            found[name].instances.append(instance_of(component))
    return found
