"""A bounded store of results by content hash."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class _Entry:
    values: tuple[Any, ...]
    size: int
    stored: float


class Store:
    """The results that were used last, within a number, a size and an age. Shared by the runs of a node server."""

    def __init__(
        self, entries: int, size: int, seconds: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            entries: most results.
            size: most bytes of all of them together.
            seconds: how long one is valid; None: any time.
            clock: seconds.
        """
        self._most = entries
        self._limit = size
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.size = 0
        """Bytes of all results."""
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> tuple[Any, ...] | None:
        """A stored result; None if there is none, or it is too old."""
        entry = self._entries.get(key)
        if entry is not None and self._seconds is not None and self._clock() - entry.stored > self._seconds:
            self._forget(key)
            entry = None
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry.values

    def takes(self, size: int) -> bool:
        """Whether a result of so many bytes is kept: it is not larger than a quarter of the store."""
        return size <= self._limit // 4

    def put(self, key: bytes, values: Sequence[Any], size: int) -> None:
        """Stores a result of so many bytes, in the place of those used longest ago. One larger than a quarter of the store is left
        out."""
        if not self.takes(size):
            return
        if key in self._entries:
            self._forget(key)
        self._entries[key] = _Entry(tuple(values), size, self._clock())
        self.size += size
        while len(self._entries) > self._most or self.size > self._limit:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: bytes) -> None:
        self.size -= self._entries.pop(key).size


class Draft:
    """A result while it is made. Once it is too large to be kept, nothing of it is held."""

    def __init__(self, store: Store, most: int) -> None:
        """`store` is where it will be kept; `most` is the greatest number of its values."""
        self._store = store
        self._most = most
        self._size = 0
        self.values: list[Any] = []
        self.is_too_large = False
        """The store would not keep it."""

    def add(self, value: Any, size: int) -> None:
        """Adds a value of so many bytes."""
        if self.is_too_large:
            return
        self._size += size
        self.values.append(value)
        if len(self.values) > self._most or not self._store.takes(self._size):
            self.is_too_large = True
            self.values.clear()

    def keep(self, key: bytes, values: Sequence[Any] | None = None) -> None:
        """Stores it, or other values of the same content, unless it is too large."""
        if not self.is_too_large:
            self._store.put(key, self.values if values is None else values, self._size)
