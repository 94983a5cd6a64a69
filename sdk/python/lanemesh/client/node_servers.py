"""A node server, for clients of an orchestrator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from lanemesh.json_values import FrozenDict
from lanemesh.v1 import registry_pb2


class ServerHealth(StrEnum):
    """Whether a node server can be used. It compares and prints as its name."""

    SERVING = "serving"
    """It accepts runs."""
    DRAINING = "draining"
    """It finishes its runs, and accepts no new ones."""
    UNREACHABLE = "unreachable"
    """It does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServerInfo:
    """One node server of a mesh."""

    name: str
    """Its name, unique in the mesh."""
    address: str
    """Its address for connections: "host:port"."""
    health: ServerHealth
    """Whether it can be used; it compares equal to its name: `server.health == "serving"`."""
    health_detail: str = ""
    """Details of its health, in words; empty if it serves."""
    node_types: tuple[str, ...] = ()
    """Providers of the node types that it can run."""
    conflicting_node_types: tuple[str, ...] = ()
    """Node types that another server had offered before with another manifest. This server is not used for them."""
    replaced_node_types: tuple[str, ...] = ()
    """Node types for which a newer server is used, which was started to replace older ones."""
    incomplete_node_types: tuple[str, ...] = ()
    """Node types that it cannot run, because Python packages are missing there."""
    active_instances: int = 0
    """Components that it runs now."""
    max_instances: int | None = None
    """Most components that it runs at once, over all runs; None: any number."""
    labels: Mapping[str, str] = FrozenDict()
    """Labels by which components may select a server."""
    features: tuple[str, ...] = ()
    """The features that it supports beyond the base of the protocol, such as "recovery"."""
    static: bool = False
    """The orchestrator was given its address; the server has not joined by itself."""
    pid: int | None = None
    """Its process id on its own machine; None if unknown."""
    software_version: str = ""
    """Version of its software, for display."""
    protocol_version: int = 0
    """Version of its protocol, for display."""


def decode_node_server(server: registry_pb2.NodeServer) -> NodeServerInfo:
    """The value of a server. Raises KeyError for an unknown health."""
    info = server.info
    health = registry_pb2.ServerHealth.Name(server.health).removeprefix("SERVER_HEALTH_")
    return NodeServerInfo(
        name=info.name,
        address=info.address,
        health=ServerHealth[health] if server.health else ServerHealth.SERVING,
        health_detail=server.health_detail,
        node_types=tuple(server.providers),
        conflicting_node_types=tuple(server.conflicting_providers),
        replaced_node_types=tuple(server.replaced_providers),
        incomplete_node_types=tuple(server.incomplete_providers),
        active_instances=server.active_instances,
        max_instances=info.max_instances or None,
        labels=FrozenDict(info.labels),
        features=tuple(info.features),
        static=server.static,
        pid=info.pid or None,
        software_version=info.software_version,
        protocol_version=info.protocol_version,
    )
