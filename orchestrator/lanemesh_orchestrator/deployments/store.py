"""Where deployed pipelines are remembered beyond the life of an orchestrator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lanemesh_orchestrator.deployments.records import DeploymentRecord


class DeploymentStore(Protocol):
    """Remembers the versions of deployed pipelines."""

    async def add(self, name: str, version: int, spec: bytes, created_at: float) -> None:
        """Remembers a version, the latest of its name. Of each name the last 100 (`records.MAX_VERSIONS`) are asked for again; the
        store may forget older ones."""

    async def remove(self, name: str) -> None:
        """Forgets every version of a name."""

    async def all(self) -> Sequence[DeploymentRecord]:
        """Every version that is remembered, in any order."""


class MemoryDeployments:
    """Remembers nothing: the orchestrator has what it needs in memory."""

    async def add(self, name: str, version: int, spec: bytes, created_at: float) -> None:
        """Nothing to do."""

    async def remove(self, name: str) -> None:
        """Nothing to do."""

    async def all(self) -> Sequence[DeploymentRecord]:
        """None."""
        return ()
