"""The modules of each package import each other in one direction: none imports, however indirectly, itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


@pytest.mark.parametrize("package", ["lanemesh", "lanemesh_orchestrator", "lanemesh_services"])
def test_no_module_imports_itself_indirectly(package: str) -> None:
    """Imports for type checking count, and those within functions."""
    graph = grimp.build_graph(package, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    assert list(_cycles(imports)) == []


def _cycles(imports: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The first cycle, if there is one."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        yield error.args[1]
