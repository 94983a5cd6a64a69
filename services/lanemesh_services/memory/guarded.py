"""The entries of a process, used from several threads."""

from __future__ import annotations

import threading

from lanemesh import MemoryEntry, MemoryQuery

from lanemesh_services.memory.in_process import Entries, Limits, Owner, Prepared, listed, matches


class Guarded:
    """`Entries` behind a lock: several event loops and worker threads of one process use them."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self._entries.size

    def put(
        self, owner: Owner, namespace: str, prepared: Prepared, ttl: float | None, limits: Limits
    ) -> tuple[bool, list[int]]:
        """Stores an entry. Returns whether it replaced one, and the numbers of entries of sessions that were removed for it."""
        removed: list[int] = []
        with self._lock:
            self._entries.on_removed = lambda _, count: removed.append(count)
            return self._entries.put(owner, namespace, prepared, ttl, limits), removed

    def get(self, owner: Owner, namespace: str, key: str) -> MemoryEntry | None:
        """The entry with a key."""
        with self._lock:
            return self._entries.get(owner, namespace, key)

    def listed(self, owner: Owner, namespace: str, prefix: str, limit: int) -> list[MemoryEntry]:
        """The entries whose keys begin with a prefix."""
        with self._lock:
            alive = self._entries.alive(owner, namespace)
        return listed(alive, prefix, limit)

    def matches(self, owner: Owner, namespace: str, query: MemoryQuery) -> list[MemoryEntry]:
        """The entries that match a query."""
        with self._lock:
            alive = self._entries.alive(owner, namespace)
        return matches(alive, query)

    def clear(self, owner: Owner, namespace: str, prefix: str) -> int:
        """Removes the entries whose keys begin with a prefix."""
        with self._lock:
            return self._entries.clear(owner, namespace, prefix)

    def forget(self, owner: Owner) -> None:
        """Removes all entries of an owner."""
        with self._lock:
            self._entries.forget(owner)

    def was_removed(self, owner: Owner) -> bool:
        """Whether a session was removed for lack of capacity; reported once."""
        with self._lock:
            return self._entries.was_removed(owner)
