"""What conformance tests share: lanes over both transports, and spread meshes whose node servers start quickly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from lanemesh.server.isolation import parent
from lanemesh_orchestrator.scheduling import local_launcher
from lanemesh_orchestrator.scheduling.local_launcher import LocalLauncher

from rigs.commands import start_server
from rigs.forked import ForkedLauncher, forked_body
from rigs.lanes import Child, Rig, rig

START_BODY = parent._spawn


@pytest.fixture(scope="session", autouse=True)
def quick_servers() -> Iterator[None]:
    """Spread meshes fork their node servers, and node servers the processes of isolated bodies."""
    start_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_launcher, "LocalLauncher", ForkedLauncher)
        patch.setattr(parent, "_spawn", forked_body)
        yield


@pytest.fixture
def new_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes start as users start them, each with an interpreter of its own."""
    monkeypatch.setattr(local_launcher, "LocalLauncher", LocalLauncher)
    monkeypatch.setattr(parent, "_spawn", START_BODY)


@pytest.fixture(scope="session")
def child() -> Iterator[Child]:
    """A process with a node server that lives as long as the tests do."""
    made = Child()
    yield made
    made.close()


@pytest.fixture(params=["memory", "grpc"])
async def lanes(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Makes runs whose lanes go over memory, or over gRPC to consumers in another process."""
    child = request.getfixturevalue("child") if request.param == "grpc" else None
    async with rig(child) as made:
        yield made


@pytest.fixture
async def between(child: Child) -> AsyncIterator[Rig]:
    """Makes runs whose lanes go over gRPC to consumers in another process."""
    async with rig(child) as made:
        yield made
