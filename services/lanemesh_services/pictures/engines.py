"""Keeps each loaded model once per process; components with other settings share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lanemesh.extend import SharedCache, in_thread

E = TypeVar("E")
_Key = tuple[Callable[[str], Any], str]


@dataclass(frozen=True, slots=True)
class Loaded(Generic[E]):
    """An engine that a node server has loaded for a component."""

    engine: E
    """The engine; other components may use the same one."""
    key: _Key
    """Its key in the cache."""


async def take(make: Callable[[str], E], model: str) -> Loaded[E]:
    """The engine of a model; `make` loads it in a worker thread, unless it is loaded. Raises what `make` raises."""
    key = (make, model)
    return Loaded(await _ENGINES.acquire(key, lambda: in_thread(make, model)), key)


async def give_back(loaded: Loaded[Any]) -> None:
    """Releases an engine. Its memory is freed when its last user has released it, and its last call has ended."""
    freeing = _ENGINES.release(loaded.key)
    if freeing is not None:
        await freeing


async def _forget(_: _Key, loading: asyncio.Task[Any]) -> None:
    """Waits for a load that is not used any more."""
    await asyncio.wait([loading])


_ENGINES: SharedCache[_Key, Any] = SharedCache(_forget)
