"""Keeps each loaded model once in a process, however many components with different settings use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from lanemesh.extend import SharedCache, in_thread

from lanemesh_services.llm.engine import Engine


class EngineCache:
    """Engines by what makes them different, each loaded by its first user and closed by its last."""

    def __init__(self) -> None:
        self._cache = SharedCache[Hashable, Engine](_close)

    async def take(self, key: Hashable, load: Callable[[], Engine]) -> Engine:
        """The engine of a key. `load` makes it, in a thread, if nobody has it yet. Raises what `load` raises."""
        return await self._cache.acquire(key, lambda: in_thread(load))

    async def give_back(self, key: Hashable) -> None:
        """A user needs the engine no more; the last one waits until it is closed."""
        closing = self._cache.release(key)
        if closing is not None:
            await closing


async def _close(_: Hashable, loading: asyncio.Task[Engine]) -> None:
    """Closes an engine, also one that is still being loaded and that nobody waits for any more."""
    await asyncio.wait([loading])
    if not loading.cancelled() and loading.exception() is None:
        await loading.result().close()


SHELF = EngineCache()
"""The shelf of this process."""
