"""The services that are imported to find a node type, and the reports of failing imports."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.node.node import Node, Service
from lanemesh.server import services
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.node_types import NodeTypes
from lanemesh.server.services import InstalledServices, load_file, service_names
from lanemesh_orchestrator.orchestrator import Orchestrator

Install = Callable[..., None]

SERVICE = """
from lanemesh import Context, In, Node, Out
from lanemesh.node.node import Node, Service

def made(name):
    class Made(Node):
        provider = name
        version = "{service}"
        text: In[str]
        told: Out[str]

        def process(self, context: Context):
            return {{"told": self.text}}

    return Made

SERVICE = Service("{service}", [made(name) for name in {providers!r}])
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs services of one module each, as a package does: by its entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    points: dict[str, str] = {}

    def install(service: str, *providers: str, source: str = SERVICE) -> None:
        module = f"installed_{service}"
        (tmp_path / f"{module}.py").write_text(source.format(service=service, providers=providers))
        points[service] = f"{module}:SERVICE"
        listed = "\n".join(f"{name} = {value}" for name, value in points.items())
        (tmp_path / "more-1.dist-info").mkdir(exist_ok=True)
        (tmp_path / "more-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1\n")
        (tmp_path / "more-1.dist-info" / "entry_points.txt").write_text(f"[lanemesh.services]\n{listed}\n")

    yield install
    for name in [name for name in sys.modules if name.startswith("installed_")]:
        del sys.modules[name]


def imported() -> set[str]:
    """The services of this file that have been imported."""
    return {name.removeprefix("installed_") for name in sys.modules if name.startswith("installed_")}


def test_a_service_that_is_installed_later_is_found(install: Install, tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(0, 0))  # the clock of a file system may stand still for some milliseconds
    assert "quartz" not in service_names()

    install("quartz", "quartz_saw")

    assert "quartz" in service_names()
    assert NodeTypes(installed=InstalledServices())["quartz_saw"].service == "quartz"


def test_installed_packages_are_searched_once_for_services(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("quartz", "quartz_saw")
    assert "quartz" in service_names()
    monkeypatch.setattr(services, "entry_points", None)

    assert "quartz" in service_names()
    assert NodeTypes(installed=InstalledServices())["quartz_saw"].service == "quartz"


def test_to_find_a_node_type_imports_the_service_that_is_called_like_it(install: Install) -> None:
    install("quartz", "quartz_saw")
    install("quarry", "quarry_dig")
    types = NodeTypes(installed=InstalledServices())

    assert types["quartz_saw"].service == "quartz"
    assert types.node_class("quartz_saw").provider == "quartz_saw"
    assert imported() == {"quartz"}


def test_a_node_type_of_a_service_of_another_name_is_found_too(install: Install) -> None:
    install("quartz", "zigzag")
    install("quarry", "quarry_dig")

    assert NodeTypes(installed=InstalledServices())["zigzag"].service == "quartz"


def test_all_of_them_are_listed_in_order_with_those_given_by_hand(install: Install, tmp_path: Path) -> None:
    install("quartz", "quartz_saw")
    install("quarry", "quarry_dig")
    given = Service("mine", [_class_of(tmp_path, "mine_own")])
    types = NodeTypes([given], InstalledServices())

    assert list(types) == sorted(types)
    assert {"chat", "llm_scripted", "mine_own", "quarry_dig", "quartz_saw"} <= set(types)
    assert len(types) == len(list(types))
    assert imported() >= {"quartz", "quarry"}


@pytest.mark.parametrize("listed_before", [True, False])
def test_of_two_services_that_have_it_the_one_that_is_called_like_it_has_it(
    install: Install, listed_before: bool
) -> None:
    install("quartz", "quartz_saw", "quarry_dig")
    install("quarry", "quartz_saw", "quarry_dig")
    types = NodeTypes(installed=InstalledServices())
    if listed_before:
        list(types)

    assert [types[name].service for name in ("quartz_saw", "quarry_dig")] == ["quartz", "quarry"]


def test_what_is_given_by_hand_goes_before_what_is_installed(install: Install, tmp_path: Path) -> None:
    install("quartz", "quartz_saw")
    types = NodeTypes([Service("mine", [_class_of(tmp_path, "quartz_saw")])], InstalledServices())

    assert types["quartz_saw"].service == "mine"
    assert imported() == set()


def test_a_service_that_cannot_be_imported_is_reported_once_and_at_its_use(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("quartz", source="import nothing_of_this_name\n")
    types = NodeTypes(installed=InstalledServices())

    assert types["chat"].service == "chat"
    assert caplog.messages == []
    assert "quartz_saw" not in types
    assert "chat" in set(types)
    told = "ModuleNotFoundError: No module named 'nothing_of_this_name'; its node types are missing"
    assert caplog.messages == [f'the service "quartz" (installed_quartz:SERVICE) cannot be loaded: {told}']


def test_a_long_lived_mesh_reports_it_at_its_start(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("quartz", source="1 / 0\n")
    caplog.set_level(logging.WARNING)

    Orchestrator(embedded=False)

    assert [message.partition(" cannot")[0] for message in caplog.messages] == [
        'the service "quartz" (installed_quartz:SERVICE)'
    ]


def test_a_service_that_is_asked_for_by_name_has_to_be_there(install: Install) -> None:
    install("quartz", source="1 / 0\n")
    installed = InstalledServices()

    with pytest.raises(LanemeshError, match=r'there is no service "quarts"; installed are agent, chat, .*quartz'):
        installed.load("quarts")
    with pytest.raises(LanemeshError, match=r'the service "quartz" .* cannot be loaded: ZeroDivisionError'):
        installed.load("quartz")


def test_a_host_names_what_it_has_where_it_has_no_such_node_type(tmp_path: Path) -> None:
    host = NodeHost([Service("mine", [_class_of(tmp_path, "b"), _class_of(tmp_path, "a")])], name="here")

    with pytest.raises(LanemeshError, match='the node server "here" has no node type "c"; it has a, b'):
        host.node_class("c")


def _class_of(folder: Path, provider: str) -> type[Node]:
    path = folder / f"given_{provider}.py"
    path.write_text(SERVICE.format(service="given", providers=[provider]) + f"\nMade = made({provider!r})\n")
    (node,) = load_file(path).nodes
    return node
