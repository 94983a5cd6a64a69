"""The entries of memories in one process: of runs and of sessions, bounded, the least recently used sessions go first. Pure."""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lanemesh import MemoryEntry, MemoryQuery

from lanemesh_services.memory.ranking import cosine, json_of, searched_text, word_score, words_of

MAX_SESSIONS = 1_000
"""Most sessions of one process."""
MAX_BYTES = 256 * 1024 * 1024
"""Most bytes of all entries of one process, keys, values, texts and embeddings together."""
MAX_REMEMBERED = 10_000
"""Most removed sessions that are remembered."""
OVERHEAD = 512
"""Bytes that an entry counts besides its content."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What entries belong to."""

    memory: str
    """The name of the memory."""
    run: str = ""
    """The run; empty: they belong to a session."""
    session: str = ""
    """The session; empty: they belong to a run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the entries of one owner."""

    max_entries: int
    """Most entries."""
    max_bytes: int
    """Most bytes, as `MAX_BYTES` counts them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An entry to be stored."""

    entry: MemoryEntry
    folded: str
    """The text that searches match, without case."""
    size: int
    """Its bytes."""


def prepare(entry: MemoryEntry) -> Prepared:
    """Measures an entry, which takes some milliseconds if it is large."""
    folded = searched_text(entry).casefold()
    size = OVERHEAD + len(entry.key.encode()) + len(json_of(entry).encode()) + 8 * len(entry.embedding)
    return Prepared(entry, folded, size + len(entry.text.encode()) + len(folded.encode()))


class Full(Exception):
    """A limit is reached; the text names it."""


@dataclass(slots=True)
class Stored:
    """An entry, as it is kept."""

    entry: MemoryEntry
    folded: str
    """The text that searches match, without case."""
    size: int
    expires_at: float
    """By `time.time`; infinite: with its owner."""


@dataclass(slots=True)
class _Owned:
    """The entries of one owner."""

    spaces: dict[str, dict[str, Stored]] = field(default_factory=dict)
    """By namespace and key."""
    count: int = 0
    size: int = 0


class Entries:
    """The entries of all memories of one process. Not thread-safe."""

    def __init__(
        self,
        max_sessions: int = MAX_SESSIONS,
        max_bytes: int = MAX_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.on_removed: Callable[[Owner, int], None] = lambda owner, count: None
        """Called with a session that was removed for lack of capacity, and the number of its entries."""
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._now = now
        self._runs: dict[Owner, _Owned] = {}
        self._sessions: OrderedDict[Owner, _Owned] = OrderedDict()
        """The most recently used one last."""
        self._removed: OrderedDict[Owner, None] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self._size

    def was_removed(self, owner: Owner) -> bool:
        """Whether a session was removed for lack of capacity since it was last asked. It is reported once."""
        return self._removed.pop(owner, 0) is None

    def put(self, owner: Owner, namespace: str, prepared: Prepared, ttl: float | None, limits: Limits) -> bool:
        """Stores an entry. Returns whether it replaced one. Raises Full if a limit is reached."""
        now = self._now()
        entry, size = prepared.entry, prepared.size
        owned = self._owned(owner) or _Owned()
        old = owned.spaces.get(namespace, {}).get(entry.key)
        if old is not None and old.expires_at <= now:
            self._drop(owned, namespace, entry.key)
            old = None
        freed = old.size if old is not None else 0
        if owned.count + (old is None) > limits.max_entries or owned.size + size - freed > limits.max_bytes:
            self._drop_expired(owned, now)
        if owned.count + (old is None) > limits.max_entries:
            raise Full(f"it has {limits.max_entries:,} entries (max_entries)")
        if owned.size + size - freed > limits.max_bytes:
            raise Full(f"its entries would have more than {limits.max_bytes:,} bytes (max_bytes)")
        self._make_capacity(owner, size - freed, now)
        if old is not None:
            self._drop(owned, namespace, entry.key)
        expires_at = now + ttl if ttl is not None else float("inf")
        kept = replace(entry, created_at=_utc(now), expires_at=None if ttl is None else _utc(expires_at), score=None)
        owned.spaces.setdefault(namespace, {})[entry.key] = Stored(kept, prepared.folded, size, expires_at)
        owned.count += 1
        owned.size += size
        self._size += size
        (self._runs if owner.run else self._sessions)[owner] = owned
        return old is not None

    def get(self, owner: Owner, namespace: str, key: str) -> MemoryEntry | None:
        """The entry with a key; None if there is none."""
        owned = self._owned(owner)
        stored = owned.spaces.get(namespace, {}).get(key) if owned is not None else None
        return _shown(stored.entry) if stored is not None and stored.expires_at > self._now() else None

    def alive(self, owner: Owner, namespace: str) -> list[Stored]:
        """All entries of a namespace that have not expired."""
        owned, now = self._owned(owner), self._now()
        if owned is None:
            return []
        return [stored for stored in owned.spaces.get(namespace, {}).values() if stored.expires_at > now]

    def clear(self, owner: Owner, namespace: str, prefix: str) -> int:
        """Removes the entries whose keys begin with a prefix. Returns the number of those that had not expired."""
        owned = self._owned(owner)
        if owned is None:
            return 0
        now = self._now()
        gone = [stored for key, stored in owned.spaces.get(namespace, {}).items() if key.startswith(prefix)]
        for stored in gone:
            self._drop(owned, namespace, stored.entry.key)
        if not owned.count:
            self._sessions.pop(owner, None)
            self._runs.pop(owner, None)
        return sum(stored.expires_at > now for stored in gone)

    def forget(self, owner: Owner) -> None:
        """Removes all entries of an owner."""
        owned = self._runs.pop(owner, None) or self._sessions.pop(owner, None)
        if owned is not None:
            self._size -= owned.size

    def _owned(self, owner: Owner) -> _Owned | None:
        if owner.run:
            return self._runs.get(owner)
        if owner in self._sessions:
            self._sessions.move_to_end(owner)
        return self._sessions.get(owner)

    def _make_capacity(self, owner: Owner, added: int, now: float) -> None:
        """Removes the least recently used other sessions until the process has capacity. Raises Full, and removes none, if all of
        them are not enough."""
        new = not owner.run and owner not in self._sessions
        if self._size + added > self._max_bytes:
            for owned in [*self._runs.values(), *self._sessions.values()]:
                self._drop_expired(owned, now)
            others = sum(owned.size for one, owned in self._sessions.items() if one != owner)
            if self._size - others + added > self._max_bytes:
                raise Full(f"the memories of this process have {self._size:,} of {self._max_bytes:,} bytes")
        while self._size + added > self._max_bytes or (new and len(self._sessions) >= self._max_sessions):
            oldest = next((one for one in self._sessions if one != owner), None)
            if oldest is None:
                break
            self._remove(oldest)

    def _remove(self, owner: Owner) -> None:
        count = self._sessions[owner].count
        self.forget(owner)
        if count:
            self._removed[owner] = None
            while len(self._removed) > MAX_REMEMBERED:
                self._removed.popitem(last=False)
            self.on_removed(owner, count)

    def _drop(self, owned: _Owned, namespace: str, key: str) -> None:
        stored = owned.spaces[namespace].pop(key)
        if not owned.spaces[namespace]:
            del owned.spaces[namespace]
        owned.count -= 1
        owned.size -= stored.size
        self._size -= stored.size

    def _drop_expired(self, owned: _Owned, now: float) -> None:
        expired = [
            (namespace, key)
            for namespace, entries in owned.spaces.items()
            for key, stored in entries.items()
            if stored.expires_at <= now
        ]
        for namespace, key in expired:
            self._drop(owned, namespace, key)


def listed(stored: Iterable[Stored], prefix: str, limit: int) -> list[MemoryEntry]:
    """The entries whose keys begin with a prefix, in the order of their keys, at most `limit`."""
    found = (one.entry for one in stored if one.entry.key.startswith(prefix))
    return [_shown(entry) for entry in heapq.nsmallest(limit, found, key=lambda entry: entry.key)]


def matches(stored: Iterable[Stored], query: MemoryQuery) -> list[MemoryEntry]:
    """The entries that match a query, the best one first; of equal ones the latest."""
    words = words_of(query.text)
    scored: list[tuple[float, datetime | None, MemoryEntry]] = []
    for one in stored:
        if query.embedding and len(one.entry.embedding) == len(query.embedding):
            score = cosine(one.entry.embedding, query.embedding)
        else:
            score = word_score(one.folded, words)
        if score > 0 and score >= query.min_score:
            scored.append((score, one.entry.created_at, one.entry))
    best = heapq.nlargest(query.limit, scored, key=lambda found: found[:2])
    return [_shown(entry, score) for score, _, entry in best]


def _shown(entry: MemoryEntry, score: float | None = None) -> MemoryEntry:
    return replace(entry, embedding=(), score=score)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
