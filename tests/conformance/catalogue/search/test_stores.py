"""One suite for all stores of documents: what a store promises, whatever keeps its documents."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest
from lanemesh import Document
from lanemesh_services.search.errors import StoreFailed
from lanemesh_services.search.filters import matches, parse_filter
from lanemesh_services.search.store import Store, key_of, search

from .stores import contents, document, opened, query

pytestmark = pytest.mark.model

EAST, NORTH, SOUTH_WEST = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-1.0, -1.0, 0.0)


def test_happy_the_nearest_documents_are_found_with_their_cosine(store: Store) -> None:
    store.put(
        [
            document("east", EAST, chunk=0, page=3, tags=["a", "b"], title="Über 'Osten'"),
            document("north", NORTH, chunk=1),
            document("far", SOUTH_WEST, chunk=2),
        ]
    )

    first, second = store.by_vector(query(embedding=(2.0, 1.0, 0.0), limit=2))

    assert (first.content, first.source, first.chunk_index, first.id) == ("east", "a.txt", 0, "a.txt#0")
    assert dict(first.metadata) == {"page": 3, "tags": ("a", "b"), "title": "Über 'Osten'"}
    assert first.score == pytest.approx(2 / 5**0.5, abs=1e-5)
    assert second.content == "north"
    assert second.score == pytest.approx(1 / 5**0.5, abs=1e-5)
    assert store.count() == 3


def test_happy_a_document_replaces_the_one_with_its_key(store: Store) -> None:
    store.put([document("old", EAST), document("other", NORTH, source="b.txt")])
    store.put([document("new", NORTH, year=2026)])

    assert store.count() == 2
    (found,) = store.by_vector(query(embedding=NORTH, limit=1, source="a.txt"))
    assert (found.content, found.metadata["year"]) == ("new", 2026)
    assert contents(store.by_text(query("old"))) == []
    assert contents(store.by_text(query("new"))) == ["new"]


def test_happy_a_source_is_removed_with_all_its_documents(store: Store) -> None:
    quoted = 'it\'s "a" file; --.txt'
    store.put([document(f"chunk {n}", EAST, source=quoted, chunk=n) for n in range(3)])
    store.put([document("stays", NORTH, source="b.txt")])

    store.delete([quoted, "unknown"])

    assert store.count() == 1
    assert contents(store.by_vector(query(embedding=EAST))) == ["stays"]
    assert contents(store.by_text(query("chunk"))) == []


def test_happy_documents_replace_all_others_of_their_sources(store: Store) -> None:
    store.put([document(f"old {n}", EAST, source="it's a.txt", chunk=n) for n in range(3)])
    store.put([document("stays", NORTH, source="b.txt"), document("old c", NORTH, source="c.txt")])

    store.put([document("new", EAST, source="it's a.txt", chunk=1)], replaced=["it's a.txt", "c.txt", "unknown"])

    assert store.count() == 2
    assert contents(store.by_vector(query(embedding=EAST))) == ["new", "stays"]
    assert contents(store.by_text(query("old new stays", source="it's a.txt"))) == ["new"]


def test_error_a_source_keeps_its_documents_if_the_new_ones_cannot_be_stored(store: Store) -> None:
    store.put([document(f"old {n}", EAST, chunk=n) for n in range(2)])

    with pytest.raises(StoreFailed) as raised:
        store.put([document("new", (1.0, 0.0, 0.0, 0.0))], replaced=["a.txt"])

    assert raised.value.fault.reason == "other-dimension"
    assert sorted(contents(store.by_text(query("old")))) == ["old 0", "old 1"]


def test_happy_words_are_found_by_their_rarity(store: Store) -> None:
    store.put(
        [
            document("The harbour closes at nine, and the ferry leaves before.", EAST, chunk=0),
            document("The museum closes at six.", NORTH, chunk=1),
            document("Tickets for the ferry cost four crowns.", SOUTH_WEST, chunk=2),
        ]
    )

    assert contents(store.by_text(query("ferry harbour?", limit=1))) == [
        "The harbour closes at nine, and the ferry leaves before."
    ]
    assert sorted(contents(store.by_text(query("When does the FERRY leave")))) == [
        "The harbour closes at nine, and the ferry leaves before.",
        "Tickets for the ferry cost four crowns.",
    ]
    assert store.by_text(query("zeppelin")) == []
    assert store.by_text(query("?! ' \" * ( OR NEAR")) == []
    assert store.by_text(query("")) == []


def test_happy_a_hybrid_search_joins_both_rankings(store: Store) -> None:
    store.put(
        [
            document("both: walrus", EAST, chunk=0),
            document("only the meaning", EAST, chunk=1),
            document("only the word walrus, and many others that no one asked for", SOUTH_WEST, chunk=2),
            document("neither", NORTH, chunk=3),
        ]
    )

    found = search(store, query("walrus", EAST, limit=3), "hybrid")

    assert found[0].content == "both: walrus"
    assert found[0].score == pytest.approx(1, abs=0.02)
    assert {"only the meaning", "only the word walrus, and many others that no one asked for"} <= set(contents(found))


FILTERS: list[dict[str, Any]] = [
    {"language": "en"},
    {"language": {"ne": "en"}},
    {"language": ["en", "de"]},
    {"page": 2},
    {"page": 2.0},
    {"page": {"gte": 2, "lt": 4}},
    {"page": {"gt": 2.5}},
    {"page": {"exists": False}},
    {"tags": "a"},
    {"tags": ["b", "z"]},
    {"tags": {"ne": "a"}},
    {"draft": True},
    {"draft": {"ne": True}},
    {"a key.with dots": "x"},
    {"source": "b.txt"},
    {"source": {"ne": "b.txt"}},
    {"chunk_index": {"gte": 1}},
    {"id": "a.txt#0"},
    {"language": "en", "page": {"lte": 2}},
    {"language": "Robert'); DROP TABLE docs;--"},
    {"language": {"exists": True}},
    {"language": {"exists": False}},
    {"page": {"ne": 2}},
    {"page": {"exists": True}},
]
FILTERED = [
    document("0", EAST, chunk=0, language="en", page=1, tags=["a", "b"], draft=True),
    document("1", EAST, chunk=1, language="de", page=2, tags=["b"], draft=False),
    document("2", EAST, chunk=2, language="en", page=3, tags=[], **{"a key.with dots": "x"}),
    document("3", EAST, source="b.txt", chunk=0, language="fr", page=4.5, tags="a"),
    document("4", EAST, source="b.txt", chunk=None, page=2),
    document("5", EAST, source="c.txt", chunk=0, language={"spoken": "en"}, page={"first": 2}),
    document("6", EAST, source="c.txt", chunk=1, language=[None], page=[None, 2]),
    document("7", EAST, source="c.txt", chunk=2, language={}, page=[{"first": 2}]),
    document("8", EAST, source="c.txt", chunk=3, language=[["en"]], page=[[2]]),
    document("9", EAST, source="c.txt", chunk=4, language=None, page=-(2**53)),
]


def test_happy_filters_mean_the_same_in_every_store(store: Store) -> None:
    store.put(FILTERED)
    for raw in FILTERS:
        wanted = [one.content for one in FILTERED if matches(parse_filter(raw), one)]
        found = store.by_vector(query(embedding=EAST, limit=len(FILTERED), **raw))
        assert sorted(contents(found)) == wanted, raw


def test_happy_a_filter_applies_to_words_and_beyond_the_nearest_documents(store: Store) -> None:
    store.put([document(f"plain {n}", EAST, chunk=n, kind="plain") for n in range(60)])
    store.put([document("rare plain", NORTH, source="b.txt", kind="rare")])

    assert contents(store.by_vector(query(embedding=EAST, kind="rare"))) == ["rare plain"]
    assert contents(store.by_text(query("plain", kind="rare"))) == ["rare plain"]


def test_error_an_empty_collection_has_no_documents(store: Store) -> None:
    assert store.count() == 0
    assert store.by_vector(query(embedding=EAST)) == []
    assert store.by_text(query("anything")) == []
    assert search(store, query("anything", EAST), "hybrid") == []
    store.delete(["a.txt"])


def test_error_another_dimension_names_both_and_stores_nothing(store: Store) -> None:
    store.put([document("three", EAST)])

    for action in (
        lambda: store.put([document("fine", NORTH, chunk=1), document("two", (1.0, 0.0), chunk=2)]),
        lambda: store.by_vector(query(embedding=(1.0, 0.0))),
    ):
        with pytest.raises(StoreFailed, match="embeddings of 3 numbers, and this one has 2") as raised:
            action()
        assert raised.value.fault.reason == "other-dimension"

    assert store.count() == 1


def test_error_texts_that_a_database_could_misread_come_back(store: Store) -> None:
    odd = "quote ' \" back\\slash {brace} $1 %s :name \u2028 \U0001f600 é"
    store.put([document(odd, EAST, source=odd, note=odd)])

    (found,) = store.by_vector(query(embedding=EAST, note=odd))

    assert (found.content, found.source, found.metadata["note"]) == (odd, odd, odd)


def test_error_an_ended_transaction_of_sqlite_does_not_hide_what_ended_it(place: Path) -> None:
    with opened("sqlite", place, "") as store:
        store.put([document("first", EAST)])
        connection = apsw.Connection(str(place / "docs.sqlite"))
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON docs_1 BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END"
        )
        with pytest.raises(StoreFailed, match="the disk is full"):
            store.put([document("second", EAST, chunk=1)])
        connection.execute("DROP TRIGGER full")
        store.put([document("third", EAST, chunk=2)])
        connection.close()

        assert sorted(contents(store.by_vector(query(embedding=EAST)))) == ["first", "third"]


@pytest.mark.parametrize("other", ["docs_data", "docs_idx", "docs_config", "Docs"])
def test_collections_with_similar_names_are_separate(
    store: Store, kind: str, url: str, place: Path, other: str
) -> None:
    store.put([document("one", EAST)])
    with opened(kind, place, url, other) as similar:
        similar.put([document("two", EAST)])
        found = [contents(each.by_text(query("one two"))) for each in (store, similar)]
    assert found == [["one"], ["two"]]


def test_a_file_of_sqlite_with_tables_that_have_the_names_of_collections_is_used_further(place: Path) -> None:
    with opened("sqlite", place, "", "old") as store:
        store.put([document("old", EAST)])
    connection = apsw.Connection(str(place / "docs.sqlite"))  # as earlier versions have made it
    connection.execute("ALTER TABLE docs_1 RENAME TO docs_old")
    connection.execute("ALTER TABLE words_1 RENAME TO words_old")
    connection.execute("DROP INDEX source_1")
    connection.execute("ALTER TABLE lanemesh_collections DROP COLUMN number")
    connection.close()

    with opened("sqlite", place, "", "old") as store, opened("sqlite", place, "", "old_data") as other:
        store.put([document("more", EAST, chunk=1)])
        other.put([document("of another one", EAST)])
        assert sorted(contents(store.by_text(query("old more another")))) == ["more", "old"]
        assert contents(other.by_text(query("old more another"))) == ["of another one"]


def test_documents_outlive_the_store_and_collections_are_separate(
    store: Store, kind: str, url: str, place: Path
) -> None:
    store.put([document("kept", EAST)])
    with opened(kind, place, url) as again, opened(kind, place, url, "others") as other:
        assert contents(again.by_vector(query(embedding=EAST))) == ["kept"]
        assert other.count() == 0
        other.put([document("a pair", (1.0, 0.0))])
        again.put([document("more", NORTH, chunk=1)])
        assert (other.count(), again.count(), store.count()) == (1, 2, 2)


def test_concurrent_writers_lose_nothing(store: Store, kind: str, url: str, place: Path) -> None:
    begin = threading.Barrier(4)
    failures: list[BaseException] = []

    def write(number: int, target: Store) -> None:
        begin.wait()
        try:
            for n in range(3):
                shared = document(f"shared {number}", EAST, source="shared.txt")
                target.put([shared, document(f"own {n}", NORTH, source=f"{number}.txt", chunk=n)])
        except BaseException as error:
            failures.append(error)

    with opened(kind, place, url) as second:
        threads = [threading.Thread(target=write, args=(n, store if n % 2 else second)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert failures == []
    assert store.count() == 13
    assert len(store.by_vector(query(embedding=EAST, source="shared.txt", limit=100))) == 1


def test_concurrent_writers_that_replace_one_source_do_not_block_each_other(
    store: Store, kind: str, url: str, place: Path
) -> None:
    begin = threading.Barrier(4)

    def write(number: int, target: Store) -> None:
        begin.wait()
        for _ in range(10):
            documents = [document(f"{number}", EAST, chunk=10 * number + n) for n in range(20)]
            target.put(documents, replaced=["a.txt"] if number % 2 else [])

    with opened(kind, place, url) as second, ThreadPoolExecutor(4) as threads:
        for written in [threads.submit(write, n, store if n < 2 else second) for n in range(4)]:
            written.result(60)

    assert 20 <= store.count() <= 50


def test_keys_are_made_of_source_and_id() -> None:
    one = document("x", EAST, source="a.txt", chunk=1)
    assert one.id == "a.txt#1"
    assert document("x", EAST, source="a.txt", chunk=None).id == "a.txt"
    assert document("x", EAST, source="", chunk=None).id == document("x", NORTH, source="", chunk=None).id
    assert key_of(one) == key_of(document("y", NORTH, source="a.txt", chunk=1))
    assert key_of(Document("x", id="1", source="a")) != key_of(Document("x", id="1", source="b"))


def test_writers_of_several_processes_lose_nothing(store: Store, kind: str, url: str, place: Path) -> None:
    if kind == "qdrant":
        code = "store = opened(kind, place, url).__enter__()"
        store.put([document("first", EAST)])
        result = in_process(code, kind, place, url)
        assert "another process has the folder open" in result.stderr
        assert "run all components that use the folder on one node server" in result.stderr
        return
    code = "\n".join(
        [
            "with opened(kind, place, url) as store:",
            "    for n in range(5):",
            "        store.put([document('shared', (1, 0, 0)), document(f'{n}', (0, 1, 0), source=sys.argv[4], chunk=n)])",
        ]
    )
    with ThreadPoolExecutor() as threads:
        written = list(threads.map(lambda name: in_process(code, kind, place, url, name), ["0.txt", "1.txt"]))

    assert [(one.returncode, one.stderr) for one in written] == [(0, "")] * 2
    assert store.count() == 11


def in_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs code in another process, with `opened`, `document` and the first three arguments."""
    begin = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv.pop()); from stores import document, opened\n"
    begin += "kind, place, url = sys.argv[1], Path(sys.argv[2]), sys.argv[3]\n"
    folder = Path(__file__).parent
    command = [sys.executable, "-c", begin + code, *map(str, arguments), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
