"""What a folder of LanceDB costs: a filter looks at few documents at a time, and locks end with their collections."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from lanemesh_services.search import lancedb_store

from .stores import contents, document, opened, query

pytestmark = pytest.mark.model

EAST = (1.0, 0.0)


def test_a_filter_that_few_documents_meet_does_not_read_the_collection_into_memory(place: Path) -> None:
    characters, documents = 20_000, 600
    with opened("lancedb", place, "") as store:
        store.put([document("word " * (characters // 5), EAST, chunk=n, kind="plain") for n in range(documents)])
        store.put([document("a rare word", EAST, source="b.txt", kind="rare")])
        wanted = query("word", EAST, kind="rare")
        tracemalloc.start()
        try:
            found = [store.by_vector(wanted), store.by_text(wanted)]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert [contents(documents) for documents in found] == [["a rare word"]] * 2
    assert peak < characters * documents / 4


def test_the_locks_of_collections_end_with_them(place: Path) -> None:
    before = len(lancedb_store._LOCKS)
    for number in range(3):
        with opened("lancedb", place, "", f"docs{number}") as store:
            store.put([document("east", EAST)])
            assert len(lancedb_store._LOCKS) == before + 1
        del store
    assert len(lancedb_store._LOCKS) == before
