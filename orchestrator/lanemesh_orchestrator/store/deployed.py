"""Deployed pipelines in a store."""

from __future__ import annotations

from collections.abc import Sequence

from lanemesh_orchestrator.deployments.records import DeploymentRecord
from lanemesh_orchestrator.store.journal import Journal


class StoredDeployments:
    """Stores the versions of deployed pipelines (`deployments.records.DeploymentStore`)."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, name: str, version: int, spec: bytes, created_at: float, folder: str) -> None:
        """Stores a version. Raises LanemeshError if the store cannot be written."""
        await self._journal.call(lambda store: store.add_deployment(name, version, spec, created_at, folder))

    async def remove(self, name: str) -> None:
        """Deletes every version of a name. Raises LanemeshError if the store cannot be written."""
        await self._journal.call(lambda store: store.remove_deployment(name))

    async def all(self) -> Sequence[DeploymentRecord]:
        """Every stored version."""
        rows = await self._journal.call(lambda store: store.deployments())
        return [DeploymentRecord(*row) for row in rows]
