"""The small model finds the right passages, and every store finds the same ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from lanemesh import Document, Question
from lanemesh.testing import run_node
from lanemesh_services.search.embedding_nodes import EmbeddingTransformer
from lanemesh_services.search.store import Query, Store, identified, search

from .collection import passages, questions

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@cache
def embedded() -> tuple[list[Document], list[Question]]:
    """The passages and the questions, embedded by the node in one run."""
    result = run_node(
        EmbeddingTransformer,
        documents=[Document(text, source="facts.txt", chunk_index=n) for n, text in enumerate(passages())],
        questions=[Question(question) for question, _ in questions()],
        timeout=250,
    )
    return result.embedded_documents, result.embedded_questions


def recall(found: list[list[int]]) -> float:
    """The part of the questions whose passage is among the first five."""
    hits = [number in numbers[:5] for numbers, (_, number) in zip(found, questions(), strict=True)]
    return sum(hits) / len(hits)


def numbers(store: Store, mode: str) -> list[list[int]]:
    """The numbers of the passages that a store finds for each question."""
    asked = [Query(question.text, question.embedding, 5) for question in embedded()[1]]
    return [[found.chunk_index or 0 for found in search(store, query, mode)] for query in asked]  # type: ignore[arg-type]


def exact() -> list[list[int]]:
    """The same by comparing every question with every passage."""
    documents, asked = embedded()

    def cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    return [
        sorted(range(len(documents)), key=lambda n: -cosine(question.embedding, documents[n].embedding))[:5]
        for question in asked
    ]


def test_the_collection_has_200_passages_and_50_questions() -> None:
    assert (len(set(passages())), len(questions())) == (200, 50)
    assert recall(exact()) >= 0.9


def test_every_store_finds_the_same_passages_and_the_right_ones(store: Store) -> None:
    store.put([identified(document) for document in embedded()[0]])

    assert numbers(store, "vector") == exact()
    assert recall(numbers(store, "hybrid")) >= 0.9
    assert recall(numbers(store, "text")) >= 0.6


def test_a_store_keeps_them_for_the_next_process(kind: str, url: str, place: Path) -> None:
    from .stores import opened

    with opened(kind, place, url) as store:
        store.put([identified(document) for document in embedded()[0][:20]])
    with opened(kind, place, url) as store:
        assert store.count() == 20
        assert numbers(store, "vector")[0][0] == questions()[0][1]
