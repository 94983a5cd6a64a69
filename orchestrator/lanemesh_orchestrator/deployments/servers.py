"""The servers of a mesh, as the interface for reconcilers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from lanemesh.features import Feature
from lanemesh.v1 import node_pb2, update_pb2

from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.registry.member import Member
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.runs.host_connection import HostConnection
from lanemesh_orchestrator.scheduling.assignment import LOCAL
from lanemesh_orchestrator.scheduling.warm_targets import places, servers_of

Standing = tuple[int, tuple[tuple[Member, str, bool], ...]]
"""The version of the registry, and its servers, each with why it accepts no runs, and whether it is silent."""

Homes = Callable[[Graph], Awaitable[Mapping[str, str]]]
"""Starts the missing servers of a pipeline; returns the server of each component that has a fixed one."""


class Servers:
    """The orchestrator's own host, and the node servers that have joined."""

    def __init__(self, registry: Registry, dial: Callable[[str], HostConnection], *, embedded: bool) -> None:
        """`embedded`: the orchestrator's own host runs every node type."""
        self.registry = registry
        self.dial = dial
        self.homes: Homes | None = None
        """Starts servers, in a spread mesh."""
        self._embedded = embedded

    def standing(self) -> Standing:
        """The servers, those that accept no runs, and the silent ones: compares equal until something changes."""
        members = self.registry.members.values()
        return self.registry.version, tuple((member, member.closed_because, member.is_silent) for member in members)

    async def until_changed(self, standing: Standing) -> None:
        """Waits until `standing` returns something else. The end of a run, which only gives capacity back, changes nothing: each
        deployment would look through all servers again."""
        while self.standing() == standing:
            await self.registry.changes.wait()

    def member(self, server: str) -> Member | None:
        """The node server with a name, if it is connected; None for the orchestrator's own host."""
        return self.registry.members.get(server)

    def takes_runs(self, server: str, member: Member | None) -> bool:
        """Whether the server with a name is still this one, and accepts runs."""
        return self.member(server) is member and (not member.closed_because if member is not None else server == LOCAL)

    async def choose(
        self, graph: Graph, kept: Collection[str]
    ) -> tuple[dict[str, list[str]], dict[str, node_pb2.Place]]:
        """The servers on which each component is kept warm, and the `Place` of each server. Raises LanemeshError if a needed server
        cannot be started."""
        homes = await self.homes(graph) if self.homes is not None else {}
        there = tuple(self.registry.members.values())
        where = servers_of(graph, there, local=LOCAL, embedded=self._embedded, homes=homes, kept=kept)
        return where, places(graph, where, {member.name for member in there if Feature.PRELOAD not in member.features})

    def placement(self, component: str, provider: str, server: str) -> update_pb2.Placement | None:
        """The placement of a component on a node server; None for the orchestrator's own host, and for a server that has left."""
        member = self.member(server)
        if member is None:
            return None
        info = member.info
        return update_pb2.Placement(
            component=component, provider=provider, server=server, address=info.address, pid=info.pid
        )
