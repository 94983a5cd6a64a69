"""A memory in a database: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lanemesh import LanemeshError, MemoryEntry, MemoryQuery
from lanemesh_services.memory.database import Database, SpaceKey
from lanemesh_services.memory.in_process import Full, Limits
from lanemesh_services.memory.location import Location, file_location, url_location
from lanemesh_services.memory.tables import ENTRIES, METADATA, VERSIONS

from postgres import postgres

LIMITS = Limits(max_entries=1_000, max_bytes=100_000_000)
STORE = SpaceKey("store", "", "")
HOSTILE = [
    '"', "'", "*", "a AND", "NEAR(a b)", "words:x", "-a", "^a", "x' OR '1'='1", "; DROP TABLE memory_entries; --", "%", "_",
    "\\", "(((", "a\0b", ":*", "!a", "a & b", "<->", "\u202e", "{", "e\u0301", "²", "i̇İ", "ﬁ",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "sqlite":
        return file_location(str(tmp_path / "folder" / "memory.sqlite"))
    found = url_location(request.getfixturevalue("server"))
    engine = sa.create_engine(found.url)
    METADATA.drop_all(engine)
    engine.dispose()
    return found


@pytest.fixture
def open_(location: Location) -> Iterator[Callable[..., Database]]:
    """Opens the database, as often as it is called."""
    opened: list[Database] = []

    def make(**options: Any) -> Database:
        opened.append(Database(location, **options))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def database(open_: Callable[..., Database]) -> Database:
    return open_()


def put(database: Database, key: str, value: object = 1, *, space: SpaceKey = STORE, ttl: float | None = None) -> bool:
    return database.put(space, MemoryEntry(key, value), ttl, LIMITS)


def keys(database: Database, prefix: str = "", space: SpaceKey = STORE) -> list[str]:
    found: list[str] = []
    while page := database.page(space, prefix, found[-1] if found else None, 1_000):
        found += [entry.key for entry in page]
    return found


def found(database: Database, query: MemoryQuery, space: SpaceKey = STORE) -> list[tuple[str, float]]:
    entries = database.scored(database.matches(space, query))
    return [(entry.key, round(entry.score or 0, 3)) for entry in entries]


def test_happy_values_outlive_the_database_that_stored_them(open_: Callable[..., Database]) -> None:
    first = open_()
    assert put(first, "a", {"n": [1, None, "é\0"]}) is False
    assert put(first, "a", {"n": 2}) is True
    first.close()
    second = open_()

    entry = second.get(STORE, "a")

    assert entry is not None
    assert (entry.value, entry.text, entry.expires_at, entry.score) == ({"n": 2}, "", None, None)
    assert entry.created_at is not None
    assert second.get(STORE, "b") is None


def test_happy_spaces_are_separate(database: Database) -> None:
    spaces = [
        SpaceKey(*names)
        for names in (("store", "", ""), ("store", "", "x"), ("session", "s", ""), ("session", "t", ""))
    ]
    for number, space in enumerate(spaces):
        assert put(database, "k", f"word{number} shared", space=space) is False

    assert [database.get(space, "k").value for space in spaces] == [f"word{n} shared" for n in range(4)]  # type: ignore[union-attr]
    assert [found(database, MemoryQuery("shared"), space) for space in spaces] == [[("k", 1.0)]] * 4
    assert found(database, MemoryQuery("word1"), spaces[0]) == []
    assert database.clear(spaces[0], "") == 1
    assert [database.get(space, "k") is None for space in spaces] == [True, False, False, False]


def test_happy_a_list_is_in_the_order_of_code_points_over_pages(database: Database) -> None:
    names = [f"p/{number:03}" for number in range(40)] + ["P", "p", "q", "é", "\U0001f600", "ｅ", "p%", "p_"]
    for name in names:
        put(database, name)

    assert keys(database) == sorted(names)
    assert keys(database, "p/") == names[:40]
    assert keys(database, "p%") == ["p%"]
    assert database.clear(STORE, "p/") == 40
    assert database.clear(STORE, "_") == 0


def test_a_search_ranks_by_the_part_of_the_words(database: Database) -> None:
    put(database, "both", "Rain in OSLO, again rain")
    put(database, "older", {"city": "Oslo"})
    put(database, "newer", ["the oslofjord"])
    put(database, "none", "trains")

    assert found(database, MemoryQuery("oslo, RAIN!")) == [("both", 1.0), ("newer", 0.5), ("older", 0.5)]
    assert found(database, MemoryQuery("oslo RAIN", min_score=0.6)) == [("both", 1.0)]
    assert found(database, MemoryQuery("oslo", limit=1)) == [("newer", 1.0)]
    put(database, "both", "nothing")
    assert found(database, MemoryQuery("rain")) == []


def test_a_search_with_an_embedding_ranks_by_it_those_that_have_one(database: Database) -> None:
    vectors = {"same": (1.0, 0.0), "near": (1.0, 1.0), "far": (-1.0, 0.0), "other": (1.0, 0.0, 0.0)}
    for key, embedding in vectors.items():
        database.put(STORE, MemoryEntry(key, "rain", embedding=embedding), None, LIMITS)

    query = MemoryQuery("rain snow", embedding=(2.0, 0.0))

    assert found(database, query) == [("same", 1.0), ("near", 0.707), ("other", 0.5)]


def test_hostile_keys_values_and_queries_are_only_texts(database: Database) -> None:
    put(database, "other", "zzz")
    for text in HOSTILE:
        key = text.replace("\0", "")
        put(database, key, {text: text})

        entry = database.get(STORE, key)

        assert entry is not None, text
        assert entry.value == {text: text}
        assert keys(database, key) == [key], text
        assert ("other", 1.0) not in found(database, MemoryQuery(text)), text
        assert database.clear(STORE, key) == 1, text
        assert keys(database) == ["other"], text


def test_the_largest_values_are_stored_and_their_beginning_is_found(database: Database) -> None:
    value = "beginning " + " ".join(f"w{number}" for number in range(140_000))[: 1024 * 1024 - 30]
    text = "\0anfang " + "ü" * 300_000
    database.put(STORE, MemoryEntry("k" * 512, value, text), 60, LIMITS)
    database.put(STORE, MemoryEntry("v", value), 60, LIMITS)

    entry = database.get(STORE, "k" * 512)

    assert entry is not None
    assert (entry.value, entry.text[:8]) == (value, "\ufffdanfang ")
    assert entry.expires_at is not None
    assert found(database, MemoryQuery("anfang")) == [("k" * 512, 1.0)]
    assert found(database, MemoryQuery("beginning w7")) == [("v", 1.0)]
    assert found(database, MemoryQuery("word " * 1_999)) == []


def test_an_expired_entry_is_gone_and_then_removed(open_: Callable[..., Database]) -> None:
    now = 1_000_000_000.0
    database = open_(now=lambda: now)
    put(database, "short", "rain", ttl=10)
    put(database, "long", "rain")
    now += 10

    assert database.get(STORE, "short") is None
    assert keys(database) == ["long"]
    assert found(database, MemoryQuery("rain")) == [("long", 1.0)]
    assert put(database, "short", "rain", ttl=10) is False
    now += 60
    put(database, "other")
    with database._reading() as connection:
        assert list(connection.scalars(sa.select(ENTRIES.c.key).order_by(ENTRIES.c.key))) == ["long", "other"]
    assert database.clear(STORE, "") == 2


def test_error_limits_of_a_space(database: Database) -> None:
    small = Limits(max_entries=2, max_bytes=2_000)
    for key in "ab":
        database.put(STORE, MemoryEntry(key, 1), None, small)

    with pytest.raises(Full, match="has 2 entries"):
        database.put(STORE, MemoryEntry("c", 1), None, small)
    with pytest.raises(Full, match="more than 2,000 bytes"):
        database.put(STORE, MemoryEntry("a", "x" * 2_000), None, small)
    database.clear(STORE, "a")

    assert database.put(STORE, MemoryEntry("c", "x" * 1_900), None, small) is False
    assert database.put(STORE, MemoryEntry("b", 2), None, small) is True


def test_expired_entries_do_not_count_for_the_limits(open_: Callable[..., Database]) -> None:
    now = 1_000_000_000.0
    database = open_(now=lambda: now)
    small = Limits(max_entries=2, max_bytes=2_000)
    put(database, "first", "rain", ttl=1_000)  # removes what has expired; the next time is in a minute
    for key in "ab":
        database.put(STORE, MemoryEntry(key, 1), 1, Limits(max_entries=3, max_bytes=2_000))
    now += 2
    assert database.put(STORE, MemoryEntry("c", 1), None, small) is False
    assert keys(database) == ["c", "first"]
    with pytest.raises(Full):
        database.put(STORE, MemoryEntry("d", 1), None, small)


def test_two_databases_store_at_once_and_nothing_is_lost(open_: Callable[..., Database]) -> None:
    both = [open_(), open_()]
    failures: list[BaseException] = []

    def store(database: Database, number: int) -> None:
        try:
            for turn in range(12):
                put(database, f"own-{number}-{turn}", "text")
                put(database, "shared", number)
                database.clear(STORE, f"own-{number}-{turn - 1}" if turn % 5 == 0 else "nothing")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=store, args=(both[number % 2], number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    names = [f"own-{number}-{turn}" for number in range(4) for turn in range(12) if (turn + 1) % 5 or turn == 11]
    assert keys(both[0]) == sorted([*names, "shared"])
    assert len(found(both[1], MemoryQuery("text", limit=1_000))) == len(names)


def test_error_tables_of_a_later_version(open_: Callable[..., Database]) -> None:
    first = open_()
    with first._writing() as connection:
        connection.execute(VERSIONS.update().values(version=99))

    with pytest.raises(LanemeshError, match="version 99, not 1") as caught:
        open_()

    assert caught.value.fault.reason == "database-unusable"


def test_the_database_has_no_ids_of_sessions(location: Location, database: Database) -> None:
    put(database, "k", space=SpaceKey("session", "s3cret-session", ""))
    with database._reading() as connection:
        rows = connection.execute(sa.text("SELECT * FROM memory_spaces")).all()

    assert "s3cret" not in str(rows)
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nothing", "not a URL"),
        ("mysql://u:s3cret@h/d", "not a URL of PostgreSQL"),
        ("sqlite:////etc/passwd", "not a URL of PostgreSQL"),
        ("postgresql://u:s3cret@/d", "no host"),
        ("postgresql://u:s3cret@h", "no database"),
        ("postgresql://u:s3cret@h/d?passfile=/etc/passwd", "'passfile'"),
        ("postgresql://u:s3cret@h/d?host=/var/run/postgresql", "'host'"),
        ("postgresql://u:s3cret@h:notaport/d", "not a URL"),
    ],
)
def test_error_urls_that_are_refused_quote_no_password(url: str, why: str) -> None:
    with pytest.raises(LanemeshError, match=why) as caught:
        url_location(url)

    assert caught.value.fault.reason == "bad-database"
    assert "s3cret" not in str(caught.value.fault)


def test_error_a_server_that_is_not_there_and_a_file_that_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(LanemeshError, match=r"postgresql://127.0.0.1/d: .*refused") as caught:
        Database(url_location("postgresql://u:s3cret@127.0.0.1:1/d?connect_timeout=5"))
    assert "s3cret" not in str(caught.value.fault)
    (tmp_path / "text.sqlite").write_text("no database " * 100)
    with pytest.raises(LanemeshError, match="file is not a database"):
        Database(file_location(str(tmp_path / "text.sqlite")))
    with pytest.raises(LanemeshError, match="not the path of a file"):
        file_location(str(tmp_path))
    with pytest.raises(LanemeshError, match="memory_store cannot use"):
        file_location("a\0b")
