"""Loads what nodes of speech need: modules with their libraries, and engines, each once per process."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lanemesh.extend import SharedCache, in_thread

from lanemesh_services.shared.errors import import_failed

EXTRA = "speech"
"""The extra that installs the libraries."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine that a node server has loaded for a component."""

    engine: Any
    """The engine; other components may use the same one."""
    key: Hashable
    """Its key in the cache."""
    module: ModuleType
    """The module that uses it, which cannot be imported without its libraries."""


async def _closed(_: Hashable, loading: asyncio.Task[Any]) -> None:
    """Closes an engine, also one that is still being loaded for users who have left."""
    await asyncio.wait([loading])
    if not loading.cancelled() and loading.exception() is None:
        await in_thread(loading.result().close)


_ENGINES: SharedCache[Hashable, Any] = SharedCache(_closed)


async def take_engine(key: Hashable, load: Callable[[], Any]) -> Any:
    """The engine of a key; `load` makes it in a thread if there is none. Raises what `load` raises."""
    return await _ENGINES.acquire(key, lambda: in_thread(load))


async def give_back_engine(key: Hashable) -> None:
    """Ends a use. The last user waits until the engine is closed."""
    closing = _ENGINES.release(key)
    if closing is not None:
        await closing


async def imported(module: str, *, library: str, provider: str) -> ModuleType:
    """A module of this package. Raises `EngineMissing` if `library`, which `provider` needs, cannot be imported."""
    try:
        return await in_thread(importlib.import_module, f"lanemesh_services.speech.{module}")
    except ImportError as error:
        raise import_failed(library, provider, EXTRA, error) from error
