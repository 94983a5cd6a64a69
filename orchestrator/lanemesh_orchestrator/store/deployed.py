"""Deployed pipelines in a store."""

from __future__ import annotations

from collections.abc import Sequence

from lanemesh.faults import Code, Fault, LanemeshError
from sqlalchemy.exc import IntegrityError

from lanemesh_orchestrator.deployments.records import DeploymentRecord
from lanemesh_orchestrator.store.journal import Journal
from lanemesh_orchestrator.store.store import RunStore


class StoredDeployments:
    """Stores the versions of deployed pipelines (`deployments.records.DeploymentStore`)."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def add(self, name: str, version: int, spec: bytes, created_at: float, folder: str) -> None:
        """Stores a version. Raises LanemeshError if the store cannot be written, or has this version already."""

        def work(store: RunStore) -> None:
            try:
                store.add_deployment(name, version, spec, created_at, folder)
            except IntegrityError:
                raise _deployed_elsewhere(name, version) from None

        await self._journal.call(work)

    async def remove(self, name: str) -> None:
        """Deletes every version of a name. Raises LanemeshError if the store cannot be written."""
        await self._journal.call(lambda store: store.remove_deployment(name))

    async def forget(self, versions: Sequence[tuple[str, int]]) -> None:
        """Deletes versions, each by its name and its number. Raises LanemeshError if the store cannot be written."""
        await self._journal.call(lambda store: store.forget_deployments(versions))

    async def all(self) -> Sequence[DeploymentRecord]:
        """Every stored version."""
        rows = await self._journal.call(lambda store: store.deployments())
        return [DeploymentRecord(*row) for row in rows]


def _deployed_elsewhere(name: str, version: int) -> LanemeshError:
    message = (
        f'another orchestrator that shares this store has deployed version {version} of "{name}"; choose another name, or '
        "restart this orchestrator, which loads that version"
    )
    return LanemeshError(Fault(code=Code.ABORTED, reason="deployed-elsewhere", message=message))
