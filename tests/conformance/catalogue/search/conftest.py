"""What the tests of stores share: a PostgreSQL with pgvector, and stores of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lanemesh_services.search.store import Store

from postgres import postgres, with_pgvector

from .stores import KINDS, opened


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The URL of a database."""
    with postgres(with_pgvector()) as url:
        yield url


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store."""
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of the database, for the kind that needs one."""
    return str(request.getfixturevalue("database")) if kind == "pgvector" else ""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, whose name no other test has."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(kind: str, url: str, place: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    with opened(kind, place, url) as made:
        yield made
