"""The environments of services in the cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from lanemesh.node.environment import Environment
from lanemesh.server import environments


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the environments."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lanemesh" / "environments"


def make(service: str, *requirements: str) -> Path:
    folder = environments.folder_of(service, Environment(requirements=requirements))
    folder.mkdir(parents=True)
    (folder / environments.COMPLETE).touch()
    return folder


@pytest.mark.parametrize("service", ["a", "b", "*", "?", "[a]", ".", "..", "../a", ""])
def test_the_environments_of_other_services_are_kept(base: Path, service: str) -> None:
    kept = [make("a-b", "one"), make("a-b", "two"), make("aa", "one")]
    (outside := base.parent / "a-0123456789ab").mkdir()
    assert not environments.remove(service)
    assert all((folder / environments.COMPLETE).exists() for folder in kept)
    assert outside.exists()


def test_all_environments_of_a_service_are_removed(base: Path) -> None:
    assert not environments.remove("a")
    first, second, other = make("a", "one"), make("a", "two"), make("a-b", "one")
    assert environments.remove("a")
    assert (first.exists(), second.exists(), other.exists()) == (False, False, True)
    assert environments.remove("a-b")
    assert not environments.remove("a-b")
