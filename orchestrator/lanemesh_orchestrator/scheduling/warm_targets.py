"""On which servers a pipeline is kept warm, and what each of them is told. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lanemesh.features import Feature
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.pipeline.plan import instance_of, needed_features
from lanemesh_orchestrator.scheduling.requirements import Requirement, Server, takes

MAX_SERVERS = 8
"""Most servers on which one component is kept warm."""


def servers_of(
    graph: Graph,
    servers: Sequence[Server],
    *,
    local: str,
    embedded: bool,
    homes: Mapping[str, str],
    kept: Collection[str] = (),
) -> dict[str, list[str]]:
    """Where each component is kept warm: on every server that may get a run of it, up to 8 of them; empty if there is none.

    Args:
        servers: those that there are, in the order in which they joined.
        local: name of the orchestrator's own host, which has boundary components, and all of them if `embedded`.
        homes: the server for each component that lives on a certain one.
        kept: servers that keep something of the pipeline warm already; these go first where there are more than 8.
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
        want = Requirement(component.id, component.provider, component.labels, home or "", features)
        found[component.id] = [server.name for server in in_order if takes(server, want) and not server.is_silent][
            :MAX_SERVERS
        ]
    return found


def places(
    graph: Graph, servers: Mapping[str, Sequence[str]], without_preload: Collection[str] = ()
) -> dict[str, node_pb2.Place]:
    """What each server is told to keep warm, by its name, but for the id; `servers` says where each component is kept. The servers
    `without_preload` are told nothing: there a run loads what it needs."""
    told: dict[str, node_pb2.Place] = {}
    for component in graph.components.values():
        for name in servers[component.id]:
            if name in without_preload:
                continue
            if name not in told:
                told[name] = node_pb2.Place(
                    protocol_version=PROTOCOL_VERSION, keep_warm=True, features=[Feature.PRELOAD], server=name
                )
            told[name].instances.append(instance_of(component))
    return told
