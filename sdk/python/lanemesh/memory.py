"""The spaces, entries and queries of memories in Python: frozen values."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lanemesh.json_values import check_text, freeze_json

MAX_KEY_CHARACTERS = 512
"""Most characters of a key."""
MAX_NAME_CHARACTERS = 128
"""Most characters of a namespace, or of the id of a session."""
MAX_VALUE_BYTES = 1024 * 1024
"""Most bytes of UTF-8 of a value as JSON text, and of the text that searches match: 1 MiB each."""
MAX_QUERY_CHARACTERS = 10_000
"""Most characters of a query."""
MAX_EMBEDDING_NUMBERS = 16_384
"""Most numbers of an embedding."""
MAX_LISTED = 10_000
"""Most entries of a list."""
MAX_FOUND = 1_000
"""Most entries that a search returns."""
LISTED = 1_000
"""Entries of a list, unless it has another limit."""
FOUND = 10
"""Entries that a search returns, unless it has another limit."""
MAX_TTL_SECONDS = 10 * 365 * 86_400.0
"""Longest time to live of an entry: ten years."""


class MemoryScope(StrEnum):
    """The lifetime of entries, and the runs that share them."""

    RUN = "run"
    """The calling run."""
    SESSION = "session"
    """All runs of the session of the calling run, such as a conversation."""
    STORE = "store"
    """All runs, permanently."""


@dataclass(frozen=True, slots=True)
class MemorySpace:
    """Where entries are stored. The run and its session are those of the call."""

    scope: MemoryScope = MemoryScope.RUN
    """Lifetime of the entries."""
    namespace: str = ""
    """Separates spaces of one scope, such as "facts": at most 128 printable characters; empty: the default space."""

    def __post_init__(self) -> None:
        """Raises ValueError if there is no such scope, or the namespace is not allowed."""
        object.__setattr__(self, "scope", MemoryScope(self.scope))
        if self.namespace:
            check_name(self.namespace, "the namespace of a memory")


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """A value in a memory."""

    key: str
    """Unique in its space: 1 to 512 characters, none of them a control character."""
    value: Any
    """A JSON value; at most 1 MiB as text."""
    text: str = ""
    """The text that searches match, at most 1 MiB of UTF-8; empty: the value itself."""
    embedding: tuple[float, ...] = ()
    """To store it: the embedding of its text, at most 16,384 numbers. Empty in results."""
    created_at: datetime | None = None
    """When it was stored, in UTC; the memory sets it."""
    expires_at: datetime | None = None
    """When it expires, in UTC; None: with its scope. The memory sets it."""
    score: float | None = None
    """In the result of a search: how well it matches, from 0 to 1."""

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError if key, value, text or embedding are not allowed."""
        check_key(self.key)
        object.__setattr__(self, "value", freeze_json(self.value))
        if check_text(self.text) > MAX_VALUE_BYTES:
            raise ValueError(f"the text of a memory entry has at most {MAX_VALUE_BYTES:,} bytes; shorten it")
        object.__setattr__(self, "embedding", _embedding(self.embedding))


@dataclass(frozen=True, slots=True)
class MemoryQuery:
    """What a search of a memory is for."""

    text: str = ""
    """The query, in words; at most 10,000 characters."""
    embedding: tuple[float, ...] = ()
    """The embedding of the query; at most 16,384 numbers. Entries that have one of this length are ranked by it."""
    limit: int = FOUND
    """Most entries to return, from 1 to 1,000."""
    min_score: float = 0.0
    """Least score, from 0 to 1."""

    def __post_init__(self) -> None:
        """Raises ValueError if a field is outside its bounds."""
        check_text(self.text)
        if len(self.text) > MAX_QUERY_CHARACTERS:
            raise ValueError(
                f"the query of a memory has at most {MAX_QUERY_CHARACTERS:,} characters, not {len(self.text):,}"
            )
        object.__setattr__(self, "embedding", _embedding(self.embedding))
        check_limit(self.limit, MAX_FOUND)
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"the least score of a search is from 0 to 1, not {self.min_score}")


def check_key(key: str) -> None:
    """Raises ValueError if a text is no key of a memory."""
    if not isinstance(key, str):
        raise TypeError(f"the key of a memory must be str, not {type(key).__name__}")
    check_text(key)
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS:
        raise ValueError(f"the key of a memory has 1 to {MAX_KEY_CHARACTERS} characters, not {len(key):,}")
    _check_printed(key, "the key of a memory")


def check_prefix(prefix: str) -> None:
    """Raises ValueError if a text begins no key of a memory; the empty prefix begins all."""
    if prefix:
        check_key(prefix)


def check_name(name: str, what: str) -> None:
    """Raises ValueError, which calls it `what`, if a text is no namespace or id of a session: 1 to 128 printable characters."""
    check_text(name)
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise ValueError(f"{what} has 1 to {MAX_NAME_CHARACTERS} characters, not {len(name):,}")
    _check_printed(name, what)


def check_limit(limit: int, most: int) -> None:
    """Raises ValueError if a number of entries is not from 1 to `most`."""
    if not 1 <= limit <= most:
        raise ValueError(f"the limit is from 1 to {most:,} entries, not {limit:,}")


def check_ttl(ttl: float | None) -> None:
    """Raises ValueError if a time to live is not greater than 0, or longer than ten years."""
    if ttl is not None and not 0 < ttl <= MAX_TTL_SECONDS:
        raise ValueError(f"the time to live of a memory entry is greater than 0 and at most ten years, not {ttl:g} s")


def _check_printed(text: str, what: str) -> None:
    for character in text:
        if unicodedata.category(character) == "Cc":
            raise ValueError(f"{what} contains the control character {character!r}; remove it")


def _embedding(numbers: Sequence[float]) -> tuple[float, ...]:
    if len(numbers) > MAX_EMBEDDING_NUMBERS:
        raise ValueError(f"an embedding has at most {MAX_EMBEDDING_NUMBERS:,} numbers, not {len(numbers):,}")
    embedding = tuple(map(float, numbers))
    if not all(map(math.isfinite, embedding)):
        raise ValueError("an embedding contains NaN or infinity")
    return embedding
