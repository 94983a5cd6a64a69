"""docs/architecture.md names only what exists."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec

import pytest

from pages import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CODE = sorted(set(re.findall(r"`([^`\s]+)`", PAGE)))
FOLDERS = "sdk", "orchestrator", "services", "protos", "tests", "benchmarks", "docs"
PATHS = [name for name in CODE if name.split("/")[0] in FOLDERS]
MODULES = [name for name in CODE if re.fullmatch(r"lanemesh(_orchestrator|_services)?(\.\w+)*", name)]
GROUPS = {"lanemesh.services", "lanemesh.commands"}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("module", [name for name in MODULES if name not in GROUPS])
def test_every_module_exists(module: str) -> None:
    assert find_spec(module) is not None


def test_paths_modules_and_protos_are_found_at_all() -> None:
    assert len(PATHS) > 30
    assert len(MODULES) > 8
    assert {name for name in CODE if name.endswith(".proto")} == {
        path.name for path in (ROOT / "protos/lanemesh/v1").glob("*.proto")
    }


def test_entry_point_groups_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(project["entry-points"]) == GROUPS


def test_every_package_is_named() -> None:
    packages = [
        path.parent
        for folder in ("sdk/python/lanemesh", "orchestrator/lanemesh_orchestrator", "services/lanemesh_services")
        for path in (ROOT / folder).glob("*/__init__.py")
    ]

    assert [str(path.relative_to(ROOT)) for path in packages if str(path.relative_to(ROOT)) not in PATHS] == []
