"""Runs a mesh on node servers of its own: one per service or component, launched when a pipeline first needs it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping

from lanemesh.server.environments import interpreter_of

from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.scheduling.launcher import Launched, Launcher, ServerSpec, not_started

JOIN_SECONDS = 60.0
"""How long a started node server may take to join."""
RELOAD_SECONDS = 30.0
"""How long it may take to load the files of its node types again."""


class Spread:
    """The node servers that a mesh has started, and its GPU arbiter where there are devices."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        launcher: Launcher,
        *,
        by_component: bool,
        is_spread: Callable[[str], bool] = lambda service: True,
    ) -> None:
        """`launcher` starts the node servers, one per component or one per service; only those of services for which `is_spread`
        is true."""
        self._orchestrator = orchestrator
        self._launcher = launcher
        self._by_component = by_component
        self._is_spread = is_spread
        self._launched: dict[str, Launched] = {}
        self._servers: dict[str, Launched] = {}
        """The launched servers by the names that the registry assigned."""
        self._services: dict[str, str] = {}
        self._has_asked_for_arbiter = False
        self._starting = asyncio.Lock()

    async def prepare(self, graph: Graph) -> dict[str, str]:
        """Starts the missing node servers of a pipeline. Returns the server of each component that runs on one.

        Raises:
            LanemeshError: a process ended, or did not join within 60 s.
        """
        homes: dict[str, str] = {}
        services: dict[str, str] = {}
        needed: dict[str, set[str]] = {}
        """The node types that each server must offer."""
        for component in graph.components.values():
            service = component.manifest.service
            if not component.manifest.boundary and self._is_spread(service):
                name = self._name(component.id, service) if self._by_component else service
                homes[component.id], services[name] = name, service
                if service in self._orchestrator.node_files:
                    needed.setdefault(name, set()).add(component.provider)
        async with self._starting:
            if services:
                await self._start_arbiter()
            missing = [name for name in services if not self._is_running(name)]
            await asyncio.gather(*(self._start(name, services[name]) for name in missing))
            joined = await self._joined(services)
            await self._wait_for_types({joined[name]: types for name, types in needed.items()})
        self._servers.update({joined[name]: self._launched[name] for name in joined})
        return {component: joined[name] for component, name in homes.items()}

    async def exit_reason(self, server: str) -> str:
        """A description of how a node server has ended; empty if it runs or was not started here."""
        launched = self._servers.get(server)
        return await launched.exit_reason() if launched is not None else ""

    async def close(self) -> None:
        """Ends every node server, and the arbiter."""
        await self._launcher.close()

    def _name(self, component: str, service: str) -> str:
        """The name of a component's server: a new one if an earlier pipeline had a component of this name from another service."""
        name = component
        while self._services.setdefault(name, service) != service:
            name = f"{name}-{service}"
        return name

    def _is_running(self, name: str) -> bool:
        return name in self._launched and not self._launched[name].has_ended

    async def _start(self, name: str, service: str) -> None:
        nodes = self._orchestrator.node_files.get(service)
        spec = ServerSpec(
            name=name,
            service=service,
            nodes=nodes,
            interpreter=sys.executable if nodes is not None else await asyncio.to_thread(interpreter_of, service),
            orchestrator=self._orchestrator.address,
        )
        self._launched[name] = await self._launcher.launch(spec)

    async def _start_arbiter(self) -> None:
        """Starts the one GPU arbiter of the mesh, unless it has one already or needs none."""
        if self._orchestrator.gpu_arbiter or self._has_asked_for_arbiter:
            return
        self._has_asked_for_arbiter = True
        self._orchestrator.gpu_arbiter = await self._launcher.launch_arbiter()

    async def _joined(self, services: Mapping[str, str]) -> dict[str, str]:
        """Waits until the servers of these services have joined. Returns the names that the registry assigned. They differ from
        the requested ones while a dead server is still listed."""
        registry = self._orchestrator.registry
        joined: dict[str, str] = {}
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                while True:
                    joined = {
                        name: server
                        for name in services
                        for server, member in registry.members.items()
                        if self._launched[name].is_server(member.info)
                    }
                    missing = [name for name in services if name not in joined]
                    if not missing:
                        return joined
                    ended = [name for name in missing if not self._is_running(name)]
                    if ended:
                        raise not_started(ended, "ended before it joined; its log is above")
                    await registry.changes.wait_at_most(0.1)
        except TimeoutError:
            missing = [name for name in services if name not in joined]
            raise not_started(missing, f"did not join within {JOIN_SECONDS:g} s") from None

    async def _wait_for_types(self, needed: Mapping[str, set[str]]) -> None:
        """Waits until the servers offer the node types that were added to their files."""
        registry = self._orchestrator.registry
        with contextlib.suppress(TimeoutError):  # the run reports the missing node type then
            async with asyncio.timeout(RELOAD_SECONDS):
                while any(
                    name in registry.members and not types <= registry.members[name].manifests.keys()
                    for name, types in needed.items()
                ):
                    await registry.changes.wait()
