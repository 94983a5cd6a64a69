"""A replacement for the memory of a node in a pipeline: entries in a dict."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lanemesh.json_text import dump_json
from lanemesh.memory import MemoryEntry, MemoryQuery, MemoryScope, MemorySpace
from lanemesh.memory_codec import decode_put, encode_clear, encode_get, encode_list, encode_put


class DictMemory:
    """A memory for tests, with all scopes. A search matches words: the score is the part of the query's words that an entry has."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        """`values`: the values that it has by their keys, in the default space of the run."""
        self._spaces: dict[MemorySpace, dict[str, MemoryEntry]] = {}
        self._space = MemorySpace()
        self._spaces[self._space] = {key: MemoryEntry(key, value) for key, value in (values or {}).items()}

    @property
    def values(self) -> dict[str, Any]:
        """The values by their keys, of this space."""
        return {entry.key: entry.value for entry in self._alive()}

    def space(self, scope: str = "run", *, namespace: str = "") -> DictMemory:
        """The same memory with another space."""
        other = DictMemory()
        other._spaces, other._space = self._spaces, MemorySpace(MemoryScope(scope), namespace)
        return other

    async def put(
        self, key: str, value: Any, *, text: str = "", ttl: float | None = None, embedding: Sequence[float] = ()
    ) -> bool:
        """Stores a value. Returns whether it replaced one."""
        request = encode_put(self._space, MemoryEntry(key, value, text, tuple(embedding)), ttl)
        _, entry, ttl = decode_put(request)  # as a helper gets it
        now = datetime.now(UTC)
        replaced = key in self.values
        entry = replace(entry, created_at=now, expires_at=None if ttl is None else now + timedelta(seconds=ttl))
        self._spaces.setdefault(self._space, {})[key] = entry
        return replaced

    async def get(self, key: str) -> MemoryEntry | None:
        """The entry with a key; None if there is none."""
        encode_get(self._space, key)
        return next((entry for entry in self._alive() if entry.key == key), None)

    async def list(self, prefix: str = "", *, limit: int = 1000) -> AsyncGenerator[MemoryEntry, None]:
        """The entries whose keys begin with a prefix, in the order of their keys."""
        encode_list(self._space, prefix, limit)
        for entry in [entry for entry in self._alive() if entry.key.startswith(prefix)][:limit]:
            yield entry

    async def search(
        self, query: str = "", *, limit: int = 10, min_score: float = 0.0, embedding: Sequence[float] = ()
    ) -> AsyncGenerator[MemoryEntry, None]:
        """The entries that have words of a query, the best one first. It ignores embeddings."""
        wanted = MemoryQuery(query, tuple(embedding), limit, min_score)
        words = set(wanted.text.lower().split())
        scored = [replace(entry, score=_score(entry, words)) for entry in self._alive()]
        found = [entry for entry in scored if entry.score and entry.score >= min_score]
        for entry in sorted(found, key=lambda entry: -(entry.score or 0))[:limit]:
            yield entry

    async def clear(self, prefix: str = "") -> int:
        """Removes the entries whose keys begin with a prefix. Returns their number."""
        encode_clear(self._space, prefix)
        gone = [entry.key for entry in self._alive() if entry.key.startswith(prefix)]
        for key in gone:
            del self._spaces[self._space][key]
        return len(gone)

    def _alive(self) -> Sequence[MemoryEntry]:
        now = datetime.now(UTC)
        entries = self._spaces.get(self._space, {})
        return sorted(
            (
                replace(entry, embedding=())
                for entry in entries.values()
                if not entry.expires_at or entry.expires_at > now
            ),
            key=lambda entry: entry.key,
        )


def _score(entry: MemoryEntry, words: set[str]) -> float:
    text = (entry.text or dump_json(entry.value)).lower()
    return sum(word in text for word in words) / len(words) if words else 0.0
