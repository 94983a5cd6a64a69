"""The orchestrator: pipelines validated, placed and supervised. `Mesh` runs them in this process or spread over local ones;
`SyncMesh` is the same for callers that do not await."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanemesh_orchestrator.mesh import Mesh
    from lanemesh_orchestrator.sync import SyncMesh

_HOMES = {"Mesh": "lanemesh_orchestrator.mesh", "SyncMesh": "lanemesh_orchestrator.sync"}

__all__ = ["Mesh", "SyncMesh"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
