"""What conformance tests share: lanes over both transports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

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
