"""The Python packages that node types need."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from lanemesh import Environment, In, Node, Out, Service
from lanemesh.node import packages
from lanemesh.node.manifest import manifest_of
from lanemesh.node.packages import are_imported, import_packages, install_command, missing_packages
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


def test_packages_are_imported_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    begun, go = threading.Event(), threading.Event()
    order: list[str] = []
    for name, value in (("begun", begun), ("go", go), ("order", order)):
        monkeypatch.setattr(threading, f"of_slow_package_{name}", value, raising=False)
    (tmp_path / "slow_package.py").write_text(
        "import threading as t\nt.of_slow_package_begun.set()\nt.of_slow_package_go.wait(10)\n"
        "t.of_slow_package_order.append('slow')"
    )
    (tmp_path / "quick_package.py").write_text("import threading as t\nt.of_slow_package_order.append('quick')")
    slow = threading.Thread(target=import_packages, args=[["slow_package"]], daemon=True)
    quick = threading.Thread(target=import_packages, args=[["quick_package"]], daemon=True)
    slow.start()
    assert begun.wait(10)
    quick.start()
    quick.join(0.1)  # without turns it would have ended
    go.set()
    slow.join(10)
    quick.join(10)
    assert order == ["slow", "quick"]
    assert are_imported(["slow_package", "quick_package"])


def test_a_package_that_cannot_be_imported_is_left_to_the_node_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('broken')")
    (tmp_path / "good_package.py").write_text("")
    import_packages(["broken_package", "good_package"])
    assert are_imported(["good_package"])
    assert not are_imported(["broken_package"])
