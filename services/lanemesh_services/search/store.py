"""What a store of documents is: one Protocol, and the values that all stores share."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from lanemesh import Document

from lanemesh_services.search.errors import other_dimension
from lanemesh_services.search.filters import NO_FILTER, Filter

Mode = Literal["vector", "text", "hybrid"]
"""How a store is searched."""
MAX_LIMIT = 1_000
"""Most documents that a search returns."""
FUSED = 4
"""How many times as many documents a hybrid search takes of each of its two searches."""
RANK_CONSTANT = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for."""

    text: str
    """The words, for a search of texts."""
    embedding: tuple[float, ...]
    """The embedding, for a search of vectors."""
    limit: int = 5
    """Most documents."""
    filter: Filter = field(default=NO_FILTER)
    """Which documents are searched."""


class Store(Protocol):
    """A collection of documents with embeddings. Synchronous; used from several worker threads at once.

    A document is stored under its key: see `key_of`. Documents are found with their score, greater is better, and without their
    embedding. All methods raise `StoreFailed` if the store is away, or its embeddings have another dimension.
    """

    where: str
    """The store and its collection as errors name them, without secrets."""

    def put(self, documents: Sequence[Document], replaced: Sequence[str] = ()) -> None:
        """Stores documents, each of which has an embedding, and a key that no other one here has. Replaces those with their keys.
        The first ones make the collection.

        All other documents of the `replaced` sources are removed; they remain if the new ones cannot be stored.
        """

    def by_vector(self, query: Query) -> list[Document]:
        """The documents whose embeddings have the greatest cosine with the query's, which is their score."""

    def by_text(self, query: Query) -> list[Document]:
        """The documents that have words of the query's text, the best match first."""

    def delete(self, sources: Sequence[str]) -> None:
        """Removes all documents of these sources."""

    def count(self) -> int:
        """The number of documents; 0 if there is no such collection."""

    def close(self) -> None:
        """Frees what it holds. Called once, after all other calls."""


class Collection:
    """What all stores know of their collection."""

    where: str
    """See `Store.where`."""
    _collection: str

    def _check(self, dimensions: int, *embeddings: Sequence[float]) -> None:
        """Raises StoreFailed if an embedding has another length than those of the collection."""
        for embedding in embeddings:
            if len(embedding) != dimensions:
                raise other_dimension(self.where, self._collection, dimensions, len(embedding))


def identified(document: Document) -> Document:
    """A document with an id: its own, or one made of its source and the number of its chunk, or else of its content."""
    if document.id:
        return document
    if document.source:
        chunk = f"#{document.chunk_index}" if document.chunk_index is not None else ""
        return replace(document, id=f"{document.source}{chunk}")
    return replace(document, id=hashlib.sha256(document.content.encode()).hexdigest()[:32])


def key_of(document: Document) -> str:
    """The key of a document with an id: a UUID made of its source and its id, because ids are unique within a source."""
    digest = hashlib.sha256(f"{document.source}\0{document.id}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16]))


def latest_by_key(documents: Iterable[Document]) -> dict[str, Document]:
    """Documents by their keys; of several with one key the last one."""
    return {key_of(document): document for document in documents}


def search(store: Store, query: Query, mode: Mode) -> list[Document]:
    """The documents that a store finds, the best one first."""
    if mode == "vector":
        return ordered(store.by_vector(query))
    if mode == "text":
        return ordered(store.by_text(query))
    wide = replace(query, limit=min(FUSED * query.limit, MAX_LIMIT))
    return fused([ordered(store.by_vector(wide)), ordered(store.by_text(wide))], query.limit)


def ordered(documents: Iterable[Document]) -> list[Document]:
    """Documents with the greatest score first; those with equal ones by their keys, so that every store has the same order."""
    return sorted(documents, key=lambda document: (-round(document.score or 0.0, 6), key_of(document)))


def fused(rankings: Sequence[Sequence[Document]], limit: int) -> list[Document]:
    """The best documents of several rankings by reciprocal rank fusion. The scores are 1 for the first one of all rankings, and
    less for others."""
    scores: dict[Hashable, float] = {}
    documents: dict[Hashable, Document] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, start=1):
            key = key_of(document)
            documents.setdefault(key, document)
            scores[key] = scores.get(key, 0.0) + 1 / (RANK_CONSTANT + rank)
    most = len(rankings) / (RANK_CONSTANT + 1)
    return ordered(replace(documents[key], score=score / most) for key, score in scores.items())[:limit]
