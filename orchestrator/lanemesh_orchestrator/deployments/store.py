"""The storage of deployed pipelines beyond the lifetime of an orchestrator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lanemesh_orchestrator.deployments.records import DeploymentRecord


class DeploymentStore(Protocol):
    """Stores the versions of deployed pipelines."""

    async def add(self, name: str, version: int, spec: bytes, created_at: float) -> None:
        """Stores a version, the latest of its name. Of each name the last 100 (`records.MAX_VERSIONS`) are read again; the store
        may delete older ones."""

    async def remove(self, name: str) -> None:
        """Deletes every version of a name."""

    async def all(self) -> Sequence[DeploymentRecord]:
        """Every stored version, in any order."""


class MemoryDeployments:
    """Stores nothing: the orchestrator keeps deployments in memory."""

    async def add(self, name: str, version: int, spec: bytes, created_at: float) -> None:
        """No effect."""

    async def remove(self, name: str) -> None:
        """No effect."""

    async def all(self) -> Sequence[DeploymentRecord]:
        """None."""
        return ()
