"""The modules of each package import each other in one direction: none imports itself through others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

MUTUAL = {f"lanemesh.lanes.{name}" for name in ("streams", "inbox", "recovery.reopening")}
"""The consumer end of a lane: an edge, its port and its inbox hold each other, and so they name each other's types."""


@pytest.mark.parametrize("package", ["lanemesh", "lanemesh_orchestrator", "lanemesh_services"])
@pytest.mark.parametrize("types", [False, True], ids=["run", "types"])
def test_no_module_imports_itself_through_others(package: str, types: bool) -> None:
    """Imports within functions count; those for type checking count where `types` is True."""
    graph = grimp.build_graph(package, cache_dir=None, exclude_type_checking_imports=not types)
    imports = {
        module: {
            name
            for name in graph.find_modules_directly_imported_by(module)
            if not (types and _is_mutual(module) and _is_mutual(name))
        }
        for module in graph.modules
    }

    assert list(_cycles(imports)) == []


def _is_mutual(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in MUTUAL)


def _cycles(imports: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The first cycle, if there is one."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        yield error.args[1]
