"""What conformance tests share: lanes over both transports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from conformance.lane_rig import SOON, Child, Rig, environment, rig


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
def minute() -> Iterator[subprocess.Popen[str]]:
    """A process in which a minute passes, for an idle lane behind a proxy."""
    command = [sys.executable, "-m", "conformance.lane_minute"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
    yield process
    try:
        process.communicate(timeout=SOON)  # it ends with its standard input
    finally:
        process.kill()


def passes_a_minute(item: pytest.Item) -> bool:
    """The test needs the minute."""
    return "minute" in getattr(item, "fixturenames", ())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The minute's test comes last, so that others run while it passes."""
    items.sort(key=passes_a_minute)


@pytest.fixture(scope="session", autouse=True)
def begin_the_minute(request: pytest.FixtureRequest) -> None:
    """Starts the minute with the first test if it is wanted at all."""
    if any(map(passes_a_minute, request.session.items)):
        request.getfixturevalue("minute")
