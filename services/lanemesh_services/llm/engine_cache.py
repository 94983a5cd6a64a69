"""Keeps each loaded model once per process; components with different settings share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from lanemesh._aio.threads import THREADS

from lanemesh_services.llm.engine import Engine


@dataclass(slots=True)
class _Place:
    loading: asyncio.Future[Engine]
    users: int = 0


class EngineCache:
    """Engines by key, each loaded by its first user and closed by its last one."""

    def __init__(self) -> None:
        self._places: dict[Hashable, _Place] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self, key: Hashable, load: Callable[[], Engine]) -> Engine:
        """Returns the engine of a key. If there is none, `load` makes it in a thread. Raises what `load` raises."""
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(asyncio.ensure_future(THREADS.call(load)))
        place.users += 1
        try:
            return await asyncio.shield(place.loading)
        except BaseException:
            self._leave(key, place)
            raise

    async def give_back(self, key: Hashable) -> None:
        """Releases an engine. The last user waits until it is closed."""
        closing = self._leave(key, self._places[key])
        if closing is not None:
            await closing

    def _leave(self, key: Hashable, place: _Place) -> asyncio.Task[None] | None:
        place.users -= 1
        if place.users:
            return None
        del self._places[key]
        closing = asyncio.ensure_future(_close(place.loading))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing


async def _close(loading: asyncio.Future[Engine]) -> None:
    """Closes an engine, also one that is still being loaded for a cancelled user."""
    await asyncio.wait([loading])
    if not loading.cancelled() and loading.exception() is None:
        await loading.result().close()


SHELF = EngineCache()
"""The engine cache of this process."""
