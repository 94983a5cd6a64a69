"""Documents in Qdrant: a server, or a folder on this host. Named vectors: one of the meaning, and a sparse one of the words."""

from __future__ import annotations

import math
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lanemesh import Document
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from lanemesh_services.search.errors import store_away, store_failed, store_unusable
from lanemesh_services.search.filters import Condition, Filter
from lanemesh_services.search.store import Collection, Query, key_of
from lanemesh_services.search.words import query_words, words_of

MEANING = "meaning"
"""Name of the vector with the embedding."""
WORDS = "words"
"""Name of the sparse vector with the words, weighted as by BM25; Qdrant adds the rarity of each word."""
SATURATION, LENGTH_PART, USUAL_WORDS = 1.2, 0.75, 128
"""Constants of BM25: k1, b, and the usual number of words of a document."""
KEYS_AT_ONCE = 1_000
"""Most keys that are asked for at a time."""

T = TypeVar("T")


@dataclass
class _Folder:
    """A local folder that is open in this process."""

    client: Any
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Only one call at a time: a folder has no server that would order them."""


_FOLDERS: dict[Path, _Folder] = {}
_OPENING = threading.Lock()


class QdrantStore(Collection):
    """A collection of Qdrant."""

    def __init__(self, client: Any, where: str, collection: str, folder: Path | None = None) -> None:
        """
        Args:
            client: the client.
            where: its server or folder, for errors.
            collection: name of the collection.
            folder: the local folder that was opened by `open_folder`, which `close` releases; None: it is a server.
        """
        self.where = f"{where} (collection {collection})"
        self._client = client
        self._collection = collection
        self._folder = folder
        self._lock = _FOLDERS[folder].lock if folder is not None else None
        self._shape: tuple[str, int, bool] | None = None

    def put(self, documents: Sequence[Document], replaced: Sequence[str] = ()) -> None:
        """See `Store.put`."""
        dimensions = len(documents[0].embedding)
        shape = self._known() or self._made(dimensions)
        self._check(shape[1], *(document.embedding for document in documents))
        points = [_point(document, shape) for document in documents]
        gone = self._keys(replaced) - {str(point.id) for point in points} if replaced else set()
        self._call(lambda: self._client.upsert(self._collection, points, wait=True))
        if gone:  # only what was there before, so that two writers that replace a source do not remove both of their documents
            self._call(lambda: self._client.delete(self._collection, sorted(gone), wait=True))

    def by_vector(self, query: Query) -> list[Document]:
        """See `Store.by_vector`."""
        shape = self._known()
        if shape is None:
            return []
        self._check(shape[1], query.embedding)
        return self._found(list(query.embedding), shape[0], query)

    def by_text(self, query: Query) -> list[Document]:
        """See `Store.by_text`."""
        shape = self._known()
        words = query_words(query.text)
        if shape is None or not words:
            return []
        if not shape[2]:
            why = f'the collection {self._collection} has no sparse vector "{WORDS}", because it was not made here'
            raise store_unusable(self.where, why, 'Set search to "vector"')
        indices = sorted({_index(word) for word in words})
        return self._found(models.SparseVector(indices=indices, values=[1.0] * len(indices)), WORDS, query)

    def delete(self, sources: Sequence[str]) -> None:
        """See `Store.delete`."""
        if self._known() is not None:
            selector = models.FilterSelector(filter=_is_of(sources))
            self._call(lambda: self._client.delete(self._collection, selector, wait=True))

    def count(self) -> int:
        """See `Store.count`."""
        if self._known() is None:
            return 0
        return int(self._call(lambda: self._client.count(self._collection, exact=True)).count)

    def close(self) -> None:
        """See `Store.close`."""
        if self._folder is None:
            self._client.close()
            return
        with _OPENING:
            entry = _FOLDERS[self._folder]
            entry.users -= 1
            if not entry.users:
                del _FOLDERS[self._folder]
                entry.client.close()

    def _keys(self, sources: Sequence[str]) -> set[str]:
        """The keys of all documents of these sources."""
        keys: set[str] = set()
        chosen, after = _is_of(sources), None
        while True:
            page = partial(self._client.scroll, self._collection, chosen, limit=KEYS_AT_ONCE, offset=after)
            found, after = self._call(partial(page, with_payload=False, with_vectors=False))
            keys |= {str(point.id) for point in found}
            if after is None:
                return keys

    def _found(self, vector: Any, name: str, query: Query) -> list[Document]:
        response = self._call(
            lambda: self._client.query_points(
                self._collection,
                query=vector,
                using=name or None,
                query_filter=filter_of(query.filter),
                limit=query.limit,
                with_payload=True,
            )
        )
        return [_document(point) for point in response.points]

    def _known(self) -> tuple[str, int, bool] | None:
        """Name and length of the vector of meanings, and whether there is one of words; None if there is no collection."""
        if self._shape is None and self._call(lambda: self._client.collection_exists(self._collection)):
            params = self._call(lambda: self._client.get_collection(self._collection)).config.params
            vectors = params.vectors
            if isinstance(vectors, dict):  # made elsewhere, it may have another name
                name = MEANING if MEANING in vectors else next(iter(vectors), "")
                size = vectors[name].size if name else 0
            else:
                name, size = "", vectors.size
            self._shape = (name, size, WORDS in (params.sparse_vectors or {}))
        return self._shape

    def _made(self, dimensions: int) -> tuple[str, int, bool]:
        """Makes the collection, unless another writer does that at the same time."""

        def make() -> None:
            self._client.create_collection(
                self._collection,
                vectors_config={MEANING: models.VectorParams(size=dimensions, distance=models.Distance.COSINE)},
                sparse_vectors_config={WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
            if self._folder is None:
                self._client.create_payload_index(self._collection, "source", models.PayloadSchemaType.KEYWORD)

        try:
            self._call(make)
        except Exception:
            if self._known() is None:
                raise
        known = self._known()
        assert known is not None
        return known

    def _call(self, action: Callable[[], T]) -> T:
        with self._errors():
            if self._lock is None:
                return action()
            with self._lock:
                return action()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnexpectedResponse as error:
            self._shape = None  # the collection may have been removed or made anew
            if error.status_code in (401, 403):
                raise store_unusable(self.where, "it refuses the key", "Check api_key") from None
            raise store_failed(self.where, error) from None
        except (ResponseHandlingException, OSError) as error:
            raise store_away(self.where, error) from None
        except (ApiException, ValueError) as error:
            self._shape = None
            raise store_failed(self.where, error) from None


def open_folder(path: Path, collection: str) -> QdrantStore:
    """A collection in a local folder, which all components of this process share. Raises StoreFailed if it cannot be opened."""
    folder = path.resolve()
    with _OPENING:
        entry = _FOLDERS.get(folder)
        if entry is None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                client = QdrantClient(path=str(folder), force_disable_check_same_thread=True)
            except RuntimeError as error:
                hint = "Use a Qdrant server, or run all components that use the folder on one node server"
                raise store_unusable(str(path), _why(error), hint) from None
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise store_unusable(str(path), error, "Check the path, and that the folder is one of Qdrant") from None
            entry = _FOLDERS[folder] = _Folder(client)
        entry.users += 1
    return QdrantStore(entry.client, str(path), collection, folder)


def _why(error: RuntimeError) -> str:
    if "already accessed" in str(error):
        return "another process has the folder open"
    return str(error)


def filter_of(conditions: Filter) -> models.Filter | None:
    """The filter of Qdrant."""
    must: list[Any] = []
    must_not: list[Any] = []
    for condition in conditions:
        key = _path(condition)
        match condition.operator:
            case "exists":
                empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
                (must_not if condition.value else must).append(empty)
            case "eq" | "in":
                must.append(models.Filter(should=[_equals(key, value) for value in condition.values]))
            case "ne":
                must_not.append(_equals(key, condition.value))
            case operator:
                must.append(models.FieldCondition(key=key, range=models.Range(**{operator: condition.value})))
    return models.Filter(must=must or None, must_not=must_not or None) if conditions else None


def _is_of(sources: Sequence[str]) -> models.Filter:
    """Selects the documents of sources."""
    return models.Filter(must=[models.FieldCondition(key="source", match=models.MatchAny(any=list(sources)))])


def _path(condition: Condition) -> str:
    if not condition.is_of_metadata:
        return condition.key
    plain = condition.key.replace("_", "a").replace("-", "a").isalnum() and condition.key.isascii()
    return f"metadata.{condition.key}" if plain else f'metadata."{condition.key}"'


def _equals(key: str, value: Any) -> models.FieldCondition:
    if isinstance(value, bool | str):
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))


def _index(word: str) -> int:
    """The place of a word in sparse vectors. Two of some 77,000 words have the same one."""
    return zlib.crc32(word.encode())


def _sparse(text: str) -> models.SparseVector:
    counts = Counter(words_of(text))
    size = sum(counts.values())
    norm = SATURATION * (1 - LENGTH_PART + LENGTH_PART * size / USUAL_WORDS)
    weights: dict[int, float] = {}
    for word, count in counts.items():
        weight = count * (SATURATION + 1) / (count + norm)
        weights[_index(word)] = math.fsum((weights.get(_index(word), 0.0), weight))
    indices = sorted(weights)
    return models.SparseVector(indices=indices, values=[weights[index] for index in indices])


def _point(document: Document, shape: tuple[str, int, bool]) -> models.PointStruct:
    name, _, has_words = shape
    vector: Any = list(document.embedding)
    if name:
        vector = {name: vector, **({WORDS: _sparse(document.content)} if has_words else {})}
    payload = {
        "content": document.content,
        "id": document.id,
        "source": document.source,
        "chunk_index": document.chunk_index,
        "metadata": _plain(document.metadata),
    }
    return models.PointStruct(id=key_of(document), vector=vector, payload=payload)


def _plain(value: Any) -> Any:
    """A JSON value in lists and dicts."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _document(point: Any) -> Document:
    payload = point.payload or {}
    metadata = payload.get("metadata")
    return Document(
        str(payload.get("content") or ""),
        id=str(payload.get("id") or point.id),
        source=str(payload.get("source") or ""),
        chunk_index=payload.get("chunk_index"),
        metadata=metadata if isinstance(metadata, dict) else {},
        score=float(point.score),
    )
