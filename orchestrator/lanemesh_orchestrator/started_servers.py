"""The node servers that a local mesh starts for its pipelines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import Graph

if TYPE_CHECKING:
    from lanemesh_orchestrator.scheduling.spread import Spread

Spreading = Literal["service", "component"]
"""Which nodes share a started process: those of one service, or none."""


class StartedServers:
    """Starts the node servers of all services, or in a mesh in one process only those that need another Python environment."""

    def __init__(self, orchestrator: Orchestrator, spread: Spreading | None, log_level: str) -> None:
        """`spread`: None: the mesh is in this process. `log_level` is that of the started processes."""
        self._orchestrator = orchestrator
        self._embedded = spread is None
        self._log_level = log_level
        self._listening = asyncio.Lock()
        self._spread: Spread | None = None
        if spread is not None:
            self._start(by_component=spread == "component")

    async def homes(self, graph: Graph) -> dict[str, str]:
        """Starts the missing node servers of a pipeline. Returns the server of each component that does not run in this process."""
        await self._start_for_services_apart()
        return await self._spread.prepare(graph) if self._spread is not None else {}

    async def close(self) -> None:
        """Ends the started processes."""
        if self._spread is not None:
            await self._spread.close()

    def _start(self, *, by_component: bool) -> None:
        """Lets node servers be started."""
        from lanemesh_orchestrator.scheduling.local_launcher import LocalLauncher
        from lanemesh_orchestrator.scheduling.spread import Spread

        apart = self._orchestrator.host.node_types.apart
        self._spread = Spread(
            *(self._orchestrator, LocalLauncher(self._log_level, self._orchestrator.security)),
            by_component=by_component,
            is_spread=apart.__contains__ if self._embedded else lambda service: True,
        )
        self._orchestrator.runs.exit_reason = self._spread.exit_reason

    async def _start_for_services_apart(self) -> None:
        """In a mesh in this process: begins to start node servers when the first service needs another Python environment."""
        if not self._embedded or not self._orchestrator.host.node_types.apart:
            return
        async with self._listening:
            if self._spread is None:
                await self._orchestrator.listen()
                self._start(by_component=False)
