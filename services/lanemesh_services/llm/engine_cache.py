"""Keeps each loaded model once per process; components with different settings share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from lanemesh.extend import SharedCache, in_thread

from lanemesh_services.llm.engine import Engine


class EngineCache:
    """Engines by key, each loaded by its first user and closed by its last one."""

    def __init__(self) -> None:
        self._cache = SharedCache[Hashable, Engine](_close)

    async def take(self, key: Hashable, load: Callable[[], Engine]) -> Engine:
        """Returns the engine of a key. If there is none, `load` makes it in a thread. Raises what `load` raises."""
        return await self._cache.acquire(key, lambda: in_thread(load))

    async def give_back(self, key: Hashable) -> None:
        """Releases an engine. The last user waits until it is closed."""
        closing = self._cache.release(key)
        if closing is not None:
            await closing


async def _close(_: Hashable, loading: asyncio.Task[Engine]) -> None:
    """Closes an engine, also one that is still being loaded for a cancelled user."""
    await asyncio.wait([loading])
    if not loading.cancelled() and loading.exception() is None:
        await loading.result().close()


SHELF = EngineCache()
"""The engine cache of this process."""
