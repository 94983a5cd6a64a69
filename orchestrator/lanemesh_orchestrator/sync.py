"""A mesh of one's own for callers that do not await, such as notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lanemesh.client.sync import SyncHost

from lanemesh_orchestrator.mesh import Mesh, Spreading
from lanemesh_orchestrator.store.options import StoreOptions


class SyncMesh(SyncHost):
    """A `Mesh` for callers that do not await: `with SyncMesh() as mesh:`. Leaving ends every run and every process it started."""

    def __init__(
        self,
        spread: Spreading | None = None,
        *,
        nodes: Sequence[Path | str] | Path | str = (),
        folder: Path | None = None,
        store: str | Path | StoreOptions | None = None,
        log_level: str = "warning",
    ) -> None:
        """The arguments, and what is raised for them, are those of `Mesh`."""
        super().__init__(lambda: Mesh(spread, nodes=nodes, folder=folder, store=store, log_level=log_level))
