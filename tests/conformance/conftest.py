"""What conformance tests share: lanes over both transports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from rigs.beside import Beside
from rigs.lanes import Child, Rig, rig


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


@pytest.fixture(scope="session")
def minute() -> Iterator[Beside]:
    """A process in which a minute passes, for an idle lane behind a proxy."""
    process = Beside("rigs.lane_minute")
    yield process
    process.close()


@pytest.fixture(scope="session")
def frozen() -> Iterator[Beside]:
    """A process in which lanes wait for peers that are frozen or cut off."""
    process = Beside("rigs.lane_breaks")
    yield process
    process.close()


def beside(item: pytest.Item) -> list[str]:
    """The processes beside the tests that the test asks."""
    return [name for name in ("minute", "frozen") if name in getattr(item, "fixturenames", ())]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those who ask come last, so that others run while the processes wait."""
    items.sort(key=lambda item: bool(beside(item)))


@pytest.fixture(scope="session", autouse=True)
def begin_beside(request: pytest.FixtureRequest) -> None:
    """Starts the processes with the first test if they are wanted at all."""
    for name in {name for item in request.session.items for name in beside(item)}:
        request.getfixturevalue(name)
