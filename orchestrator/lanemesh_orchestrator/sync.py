"""A local mesh with a synchronous interface, for callers such as notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lanemesh.client.sync import SyncHost

from lanemesh_orchestrator.mesh import Mesh
from lanemesh_orchestrator.runs.retention import DEFAULT_BUDGET
from lanemesh_orchestrator.started_servers import Spreading
from lanemesh_orchestrator.store.options import StoreOptions


class SyncMesh(SyncHost):
    """A synchronous `Mesh`. Use it as `with SyncMesh() as mesh:`; its exit ends all runs and started processes."""

    def __init__(
        self,
        spread: Spreading | None = None,
        *,
        nodes: Sequence[Path | str] | Path | str = (),
        folder: Path | None = None,
        store: str | Path | StoreOptions | None = None,
        run_memory: int = DEFAULT_BUDGET,
        log_level: str = "warning",
    ) -> None:
        """Takes the arguments of `Mesh`, and raises the same errors."""
        super().__init__(
            lambda: Mesh(spread, nodes=nodes, folder=folder, store=store, run_memory=run_memory, log_level=log_level)
        )
