"""Values that several users share: made for the first of them, kept as long as they are used and for a while after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_LOADS = 2
"""Most loads for one `acquire`, if the value is not current any more when the first one ends."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[K, V]):
    key: K
    loading: asyncio.Task[V]
    users: int = 0
    idle: asyncio.TimerHandle | None = None

    def is_used_again(self) -> None:
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None

    @property
    def failed(self) -> bool:
        return self.loading.done() and (self.loading.cancelled() or self.loading.exception() is not None)


class SharedCache(Generic[K, V]):
    """Values by key, each with the count of its users.

    A load is shared by those who wait for it, and goes on when one of them is cancelled. One that fails is forgotten, so that the
    next user tries again. A value that is not current any more is loaded anew; who has the old one keeps it.
    """

    def __init__(
        self,
        unload: Callable[[K, asyncio.Task[V]], Awaitable[None]],
        *,
        idle_seconds: float = 0.0,
        is_current: Callable[[V], bool] | None = None,
    ) -> None:
        """`unload` frees the result of a load, which may not have ended: it may wait for it or cancel it. It is called
        `idle_seconds` after the last use. `is_current`, if given, is asked whenever a value is acquired that has loaded, and when a
        load ends."""
        self._unload = unload
        self._idle_seconds = idle_seconds
        self._is_current = is_current
        self._entries: dict[K, _Entry[K, V]] = {}
        self._superseded: list[_Entry[K, V]] = []
        """Not current any more, and still in use."""
        self._unloads: set[asyncio.Task[None]] = set()

    async def acquire(self, key: K, load: Callable[[], Coroutine[Any, Any, V]], name: str = "") -> V:
        """The value of a key. `load` makes it, in a task of this name, unless it is there or being loaded. A value that is not
        current any more when its load ends is loaded once more. Raises what `load` raises."""
        for _ in range(MAX_LOADS - 1):
            entry = self._enter(key, load, name)
            was_loaded = entry.loading.done()
            value = await self._loaded(entry)
            if was_loaded or self._is_current_to_user(entry):
                return value
            self._leave(entry)
        return await self._loaded(self._enter(key, load, name))

    def _enter(self, key: K, load: Callable[[], Coroutine[Any, Any, V]], name: str) -> _Entry[K, V]:
        """Adds a user to the entry of a key, or to a new one."""
        entry = self._entries.get(key)
        if entry is not None and self._is_outdated(entry):
            self._supersede(entry)
            entry = None
        if entry is None or entry.failed:
            entry = self._entries[key] = _Entry(key, asyncio.create_task(load(), name=name or None))
            entry.loading.add_done_callback(lambda _, entry=entry: self._forget_failed(entry))  # type: ignore[misc]
        entry.is_used_again()
        entry.users += 1
        return entry

    async def _loaded(self, entry: _Entry[K, V]) -> V:
        """Waits for the value of an entry for one of its users, who leaves if that fails."""
        try:
            return await asyncio.shield(entry.loading)
        except BaseException:
            self._leave(entry)
            raise

    def release(self, key: K, value: V | None = None) -> asyncio.Task[None] | None:
        """Gives back what `acquire` returned. Returns the task that unloads it, if that begins at once."""
        for entry in self._superseded:
            if value is not None and entry.key == key and entry.loading.result() is value:
                return self._leave(entry)
        current = self._entries.get(key)
        return self._leave(current) if current is not None else None

    async def close(self) -> None:
        """Unloads everything."""
        for entry in [*self._superseded, *self._entries.values()]:
            self._begin_unload(entry)
        await asyncio.gather(*self._unloads)

    def _is_outdated(self, entry: _Entry[K, V]) -> bool:
        if self._is_current is None or not entry.loading.done() or entry.failed:
            return False
        return not self._is_current(entry.loading.result())

    def _is_current_to_user(self, entry: _Entry[K, V]) -> bool:
        """Whether a value is current. One of its users leaves if that cannot be found out."""
        try:
            return not self._is_outdated(entry)
        except BaseException:
            self._leave(entry)
            raise

    def _supersede(self, entry: _Entry[K, V]) -> None:
        if entry.users:
            del self._entries[entry.key]
            self._superseded.append(entry)
        else:
            self._begin_unload(entry)

    def _leave(self, entry: _Entry[K, V]) -> asyncio.Task[None] | None:
        entry.users -= 1
        if entry.users or entry.failed:
            return None
        if self._entries.get(entry.key) is entry and self._idle_seconds:
            entry.idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._begin_unload, entry)
            return None
        return self._begin_unload(entry)

    def _forget_failed(self, entry: _Entry[K, V]) -> None:
        if entry.failed and self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
            entry.is_used_again()

    def _begin_unload(self, entry: _Entry[K, V]) -> asyncio.Task[None]:
        entry.is_used_again()
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        if entry in self._superseded:
            self._superseded.remove(entry)
        task = asyncio.ensure_future(self._freed(entry))
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)
        return task

    async def _freed(self, entry: _Entry[K, V]) -> None:
        await self._unload(entry.key, entry.loading)
