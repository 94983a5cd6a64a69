"""The mesh of the tests of recovery. It lives as long as the tests of this folder run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from endings import lasting
from rigs.replicas import Replicas, replicas


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def mesh() -> AsyncIterator[Replicas]:
    """A mesh whose node servers each test asks for."""
    async with lasting("the mesh of replicas", replicas()) as mesh:
        yield mesh
