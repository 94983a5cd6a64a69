"""The orchestrator: pipelines validated, placed and supervised. `Mesh` runs them in this process or spread over local ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanemesh_orchestrator.mesh import Mesh

__all__ = ["Mesh"]


def __getattr__(name: str) -> Any:
    if name == "Mesh":
        from lanemesh_orchestrator.mesh import Mesh

        return Mesh
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
