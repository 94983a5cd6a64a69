"""Keeps each loaded model once in a process, however many components with different settings use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from lanemesh.extend import in_thread

from lanemesh_services.llm.engine import Engine


@dataclass(slots=True)
class _Place:
    loading: asyncio.Future[Engine]
    users: int = 0


class EngineCache:
    """Engines by what makes them different, each loaded by its first user and closed by its last."""

    def __init__(self) -> None:
        self._places: dict[Hashable, _Place] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self, key: Hashable, load: Callable[[], Engine]) -> Engine:
        """The engine of a key. `load` makes it, in a thread, if nobody has it yet. Raises what `load` raises."""
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(asyncio.ensure_future(in_thread(load)))
        place.users += 1
        try:
            return await asyncio.shield(place.loading)
        except BaseException:
            self._leave(key, place)
            raise

    async def give_back(self, key: Hashable) -> None:
        """A user needs the engine no more; the last one waits until it is closed."""
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
    """Closes an engine, also one that is still being loaded and that nobody waits for any more."""
    await asyncio.wait([loading])
    if not loading.cancelled() and loading.exception() is None:
        await loading.result().close()


SHELF = EngineCache()
"""The shelf of this process."""
