"""What the tests of locked doors share: certificates and tokens, which each of them may add to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.doors import Doors


@pytest.fixture(scope="session")
def shared_doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    """Certificates and tokens, which no test changes."""
    return Doors(tmp_path_factory.mktemp("doors"))


@pytest.fixture
def doors(shared_doors: Doors) -> Doors:
    """The same, under a name that says that it is only read."""
    return shared_doors


@pytest.fixture
def own_doors(tmp_path: Path) -> Doors:
    """Certificates and tokens of one test, which it may change."""
    return Doors(tmp_path / "own")
