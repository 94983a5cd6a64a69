"""The Python packages that node types need."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lanemesh import Environment, In, Node, Out, Service
from lanemesh.node import packages
from lanemesh.node.node import manifest_of
from lanemesh.node.packages import install_command, missing_packages
from lanemesh.server.host.node_types import NodeTypes


class Needing(Node):
    """Needs a package."""

    pip_extra = "documents"
    python_packages = ("json", "lanemesh_absent")

    text: In[str]
    out: Out[str]

    def process(self, context: object) -> dict[str, str]:
        """Returns its input."""
        return {"out": self.text}


def test_missing_packages_of_many_node_types_are_looked_for_with_one_listing_of_the_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listings: list[None] = []
    monkeypatch.setattr(packages, "invalidate_caches", lambda: listings.append(None))
    monkeypatch.setattr(packages, "_listed_at", float("-inf"))
    for number in range(50):
        assert missing_packages([f"lanemesh_absent_{number}"]) == (f"lanemesh_absent_{number}",)
    assert len(listings) == 1


def test_missing_packages_are_found_without_importing_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "LOOK_AGAIN_SECONDS", 0)
    assert missing_packages(["json", "email.message", "lanemesh_absent", "lanemesh_absent.inner"]) == (
        "lanemesh_absent",
        "lanemesh_absent.inner",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert missing_packages(["comes_later"]) == ("comes_later",)
    (tmp_path / "comes_later.py").write_text("raise RuntimeError('imported')")
    assert missing_packages(["comes_later"]) == ()
    assert "comes_later" not in sys.modules


def test_a_package_that_is_blocked_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blocked_package", None)
    assert missing_packages(["blocked_package"]) == ("blocked_package",)


def test_a_manifest_has_extra_and_packages_and_node_types_mark_what_is_missing() -> None:
    plain = manifest_of(Needing, "docs")
    assert (plain.extra, list(plain.packages), list(plain.missing_packages)) == (
        "documents",
        ["json", "lanemesh_absent"],
        [],
    )
    types = NodeTypes([Service("docs", [Needing])])
    marked = types["needing"]
    assert list(marked.missing_packages) == ["lanemesh_absent"]
    assert types["needing"] is marked
    assert install_command(marked) == "pip install 'lanemesh[documents]'"
    marked.extra = ""
    assert (
        install_command(marked) == "pip install PROJECT, with the project of each missing import name: lanemesh_absent"
    )


def test_a_service_with_an_environment_of_its_own_is_checked_in_that_environment() -> None:
    apart = Service("docs", [Needing], Environment(requirements=("lanemesh-absent-distribution",)))
    here = Service("docs", [Needing], Environment(requirements=("pydantic",)))

    class Installed:
        def __init__(self, service: Service) -> None:
            self.service = service

        def nearest_first(self, provider: str) -> list[Service]:
            return [self.service]

    assert not NodeTypes(installed=Installed(apart))["needing"].missing_packages  # type: ignore[arg-type]
    assert NodeTypes(installed=Installed(here))["needing"].missing_packages  # type: ignore[arg-type]
