"""What nodes load once per node server, such as models: shared by runs, kept warm for a while, freed in the end."""

from __future__ import annotations

import asyncio
import logging
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from lanemesh.node.hooks import call_hook
from lanemesh.node.node import Node
from lanemesh.redaction import hidden_in_log, revealed

IDLE_SECONDS = 300.0
"""How long a resource that nobody uses stays loaded, or goes on loading."""
UNLOAD_SECONDS = 10.0
"""How long the unloading of one resource may take before it is abandoned."""

log = logging.getLogger("lanemesh.resources")

Key = tuple[type[Node], str]


class Reloadable(ABC):
    """A resource that was made of files which may change."""

    @abstractmethod
    def is_current(self) -> bool:
        """Whether the files are as they were. Asked whenever a run acquires it; must not block for long."""


@dataclass(slots=True)
class _Loaded:
    loading: asyncio.Task[Any]
    users: int = 0
    unloading: asyncio.TimerHandle | None = None


class Resources:
    """The resources of one node server, by node class and config."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._loaded: dict[Key, _Loaded] = {}
        self._superseded: list[tuple[Key, _Loaded]] = []
        """Loaded from files that have changed since, and still in use."""
        self._unloads: set[asyncio.Task[None]] = set()

    async def acquire(self, node: type[Node], config: Any) -> Any:
        """What the class's `load` makes of a config: loaded now, or by an earlier run. A `Reloadable` resource whose files have
        changed is loaded anew; runs that have the old one keep it. Raises what `load` raises."""
        key = _key(node, config)
        entry = self._loaded.get(key)
        if entry is not None and not _is_current(entry):
            self._supersede(key, entry)
            entry = None
        if entry is None:
            task = asyncio.create_task(call_hook(node.load, config), name=f"load {node.provider}")
            entry = self._loaded[key] = _Loaded(task)
            task.add_done_callback(lambda _, key=key, entry=entry: self._loaded_or_not(key, entry))  # type: ignore[misc]
        if entry.unloading is not None:
            entry.unloading.cancel()
            entry.unloading = None
        entry.users += 1
        try:
            return await asyncio.shield(entry.loading)
        except BaseException:
            entry.users -= 1
            if not entry.users and self._loaded.get(key) is entry:
                self._schedule(key, entry)
            raise

    def release(self, node: type[Node], config: Any, resource: Any = None) -> None:
        """Gives back the `resource` that `acquire` returned; it is unloaded after 300 s without use, a superseded one at once."""
        key = _key(node, config)
        if resource is not None and self._release_superseded(key, resource):
            return
        entry = self._loaded.get(key)
        if entry is None:
            return
        entry.users -= 1
        if not entry.users:
            self._schedule(key, entry)

    async def close(self) -> None:
        """Unloads everything, each within 10 s, and cancels what still loads."""
        superseded, self._superseded = self._superseded, []
        for key, entry in superseded:
            self._unload(key, entry)
        for key, entry in list(self._loaded.items()):
            if entry.unloading is not None:
                entry.unloading.cancel()
            self._unload(key, entry)
        await asyncio.gather(*self._unloads)

    def _supersede(self, key: Key, entry: _Loaded) -> None:
        del self._loaded[key]
        if entry.unloading is not None:
            entry.unloading.cancel()
        if entry.users:
            self._superseded.append((key, entry))
        else:
            self._unload(key, entry)

    def _release_superseded(self, key: Key, resource: Any) -> bool:
        for place, (known, entry) in enumerate(self._superseded):
            if known == key and entry.loading.result() is resource:
                entry.users -= 1
                if not entry.users:
                    del self._superseded[place]
                    self._unload(key, entry)
                return True
        return False

    def _loaded_or_not(self, key: Key, entry: _Loaded) -> None:
        """Forgets a failed load, so that the next run tries again."""
        if (entry.loading.cancelled() or entry.loading.exception() is not None) and self._loaded.get(key) is entry:
            del self._loaded[key]
            if entry.unloading is not None:
                entry.unloading.cancel()

    def _schedule(self, key: Key, entry: _Loaded) -> None:
        entry.unloading = asyncio.get_running_loop().call_later(self._idle_seconds, self._unload, key, entry)

    def _unload(self, key: Key, entry: _Loaded) -> None:
        if self._loaded.get(key) is entry:
            del self._loaded[key]
        entry.loading.cancel()  # nobody waits for it any more; nothing happens if it has loaded
        task = asyncio.create_task(self._finish(key[0], entry), name=f"unload {key[0].provider}")
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)

    async def _finish(self, node: type[Node], entry: _Loaded) -> None:
        freeing = asyncio.create_task(self._free(node, entry), name=f"free {node.provider}")
        _, late = await asyncio.wait([freeing], timeout=UNLOAD_SECONDS)
        if late:  # a body that ignores its cancellation is not waited for
            freeing.cancel()
            log.error(
                "abandoned the unloading of a resource of %s: it took longer than %g s", node.provider, UNLOAD_SECONDS
            )

    async def _free(self, node: type[Node], entry: _Loaded) -> None:
        try:
            await call_hook(node.unload, await entry.loading)
        except asyncio.CancelledError:
            pass  # it never was loaded
        except Exception:
            log.error("could not unload a resource of %s\n%s", node.provider, hidden_in_log(traceback.format_exc()))


def _is_current(entry: _Loaded) -> bool:
    loading = entry.loading
    if not loading.done() or loading.cancelled() or loading.exception() is not None:
        return True
    resource = loading.result()
    return not isinstance(resource, Reloadable) or resource.is_current()


def _key(node: type[Node], config: Any) -> Key:
    """What tells resources apart: configs that differ in a secret alone differ."""
    return node, to_json(revealed(config.model_dump())).decode()
