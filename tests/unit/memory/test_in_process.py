"""The entries of memories in one process: scopes, times, limits, and who has to go when there is no capacity."""

from __future__ import annotations

import pytest
from lanemesh import MemoryEntry, MemoryQuery
from lanemesh_services.memory.in_process import OVERHEAD, Entries, Full, Limits, Owner, listed, matches, prepare

LIMITS = Limits(max_entries=100, max_bytes=1_000_000)
RUN = Owner("m", run="run-1")


def session(name: str) -> Owner:
    return Owner("m", session=name)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def entries(clock: Clock) -> Entries:
    return Entries(max_sessions=3, max_bytes=100_000, now=clock)


def put(entries: Entries, owner: Owner, key: str, value: object = 1, ttl: float | None = None) -> bool:
    return entries.put(owner, "", prepare(MemoryEntry(key, value)), ttl, LIMITS)


def keys(entries: Entries, owner: Owner, namespace: str = "", prefix: str = "", limit: int = 100) -> list[str]:
    return [entry.key for entry in listed(entries.alive(owner, namespace), prefix, limit)]


def test_happy_entries_of_owners_and_namespaces_are_separate(entries: Entries) -> None:
    assert put(entries, RUN, "k", 1) is False
    assert put(entries, session("a"), "k", 2) is False
    assert entries.put(session("a"), "facts", prepare(MemoryEntry("k", 3)), None, LIMITS) is False
    assert put(entries, session("a"), "k", 4) is True

    found = [entries.get(RUN, "", "k"), entries.get(session("a"), "", "k"), entries.get(session("a"), "facts", "k")]

    assert [entry.value for entry in found if entry] == [1, 4, 3]
    assert entries.get(session("b"), "", "k") is None
    assert entries.clear(session("a"), "", "") == 1
    assert entries.get(session("a"), "facts", "k") is not None


def test_happy_a_list_is_in_the_order_of_keys_with_a_prefix_and_a_limit(entries: Entries) -> None:
    for key in ("b/2", "b/10", "a", "é", "b/1"):
        put(entries, RUN, key)

    assert keys(entries, RUN) == ["a", "b/1", "b/10", "b/2", "é"]
    assert keys(entries, RUN, prefix="b/", limit=2) == ["b/1", "b/10"]
    assert entries.clear(RUN, "", "b/") == 3
    assert keys(entries, RUN) == ["a", "é"]


def test_happy_a_run_that_ended_leaves_nothing(entries: Entries) -> None:
    put(entries, RUN, "k")
    entries.forget(RUN)

    assert (entries.size, keys(entries, RUN)) == (0, [])


def test_an_expired_entry_is_gone_and_frees_its_capacity(entries: Entries, clock: Clock) -> None:
    put(entries, RUN, "short", ttl=10)
    put(entries, RUN, "long", ttl=30)
    clock.now += 10

    assert entries.get(RUN, "", "short") is None
    assert keys(entries, RUN) == ["long"]
    assert put(entries, RUN, "short") is False
    clock.now += 20
    one = Limits(max_entries=1, max_bytes=1_000_000)
    entries.clear(RUN, "", "short")
    assert entries.put(RUN, "", prepare(MemoryEntry("new", 1)), None, one) is False


def test_a_search_ranks_by_words_then_by_age(entries: Entries, clock: Clock) -> None:
    put(entries, RUN, "both", "Rain in OSLO")
    clock.now += 1
    put(entries, RUN, "older", {"city": "Oslo"})
    clock.now += 1
    put(entries, RUN, "newer", ["the oslofjord"])
    put(entries, RUN, "none", "trains")

    found = matches(entries.alive(RUN, ""), MemoryQuery("oslo, RAIN!"))

    assert [(entry.key, entry.score) for entry in found] == [("both", 1.0), ("newer", 0.5), ("older", 0.5)]
    assert [one.key for one in matches(entries.alive(RUN, ""), MemoryQuery("oslo rain", min_score=0.6))] == ["both"]
    assert [one.key for one in matches(entries.alive(RUN, ""), MemoryQuery("oslo", limit=1))] == ["newer"]
    assert matches(entries.alive(RUN, ""), MemoryQuery("  -- * ' ")) == []


def test_a_search_with_an_embedding_ranks_by_it_those_that_have_one(entries: Entries) -> None:
    for key, embedding in {
        "same": (1.0, 0.0),
        "near": (1.0, 1.0),
        "far": (-1.0, 0.0),
        "other": (1.0, 0.0, 0.0),
    }.items():
        entries.put(RUN, "", prepare(MemoryEntry(key, "rain", embedding=embedding)), None, LIMITS)

    found = matches(entries.alive(RUN, ""), MemoryQuery("rain snow", embedding=(2.0, 0.0)))

    assert [(entry.key, round(entry.score or 0, 3)) for entry in found] == [
        ("same", 1.0),
        ("near", 0.707),
        ("other", 0.5),
    ]
    assert {entry.embedding for entry in found} == {()}


def test_error_limits_of_one_owner(entries: Entries) -> None:
    small = Limits(max_entries=2, max_bytes=OVERHEAD * 2 + 3_000)
    entries.put(RUN, "", prepare(MemoryEntry("a", 1)), None, small)
    entries.put(RUN, "x", prepare(MemoryEntry("b", 1)), None, small)

    with pytest.raises(Full, match="has 2 entries"):
        entries.put(RUN, "", prepare(MemoryEntry("c", 1)), None, small)
    with pytest.raises(Full, match="more than 4,024 bytes"):
        entries.put(RUN, "", prepare(MemoryEntry("a", "x" * 4_000)), None, small)

    assert entries.put(RUN, "", prepare(MemoryEntry("a", 2)), None, small) is True
    assert entries.put(RUN, "y", prepare(MemoryEntry("d", 1)), None, LIMITS) is False


def test_the_least_recently_used_session_goes_first(entries: Entries) -> None:
    removed: list[tuple[Owner, int]] = []
    entries.on_removed = lambda owner, count: removed.append((owner, count))
    for name in "abc":
        put(entries, session(name), "k")
    assert entries.get(session("a"), "", "k") is not None  # uses it

    put(entries, session("d"), "k")

    assert removed == [(session("b"), 1)]
    assert entries.was_removed(session("b"))
    assert not entries.was_removed(session("b"))
    assert not entries.was_removed(session("a"))


def test_sessions_make_capacity_for_bytes_and_runs_do_not_go(entries: Entries) -> None:
    put(entries, RUN, "k", "x" * 20_000)
    put(entries, session("a"), "k", "x" * 20_000)
    put(entries, session("b"), "k", "x" * 20_000)

    assert entries.get(session("a"), "", "k") is None
    assert entries.get(session("b"), "", "k") is not None
    with pytest.raises(Full, match="memories of this process have"):
        put(entries, Owner("m", run="run-2"), "k", "x" * 40_000)
    assert entries.get(RUN, "", "k") is not None


def test_an_entry_that_expires_while_it_is_replaced_is_replaced() -> None:
    times = iter(range(100))
    entries = Entries(max_bytes=100_000, now=lambda: next(times))
    put(entries, session("a"), "k", "x" * 20_000)
    put(entries, RUN, "k", ttl=1.5)  # alive when the clock is read for the next entry, and no longer at a second look

    assert put(entries, RUN, "k", "x" * 40_000) is True
    assert entries.size == prepare(MemoryEntry("k", "x" * 40_000)).size


def test_error_an_entry_that_does_not_fit_without_sessions_either_removes_none(entries: Entries) -> None:
    removed: list[Owner] = []
    entries.on_removed = lambda owner, _: removed.append(owner)
    put(entries, RUN, "k", "x" * 20_000)
    put(entries, session("a"), "k")

    with pytest.raises(Full, match="memories of this process have"):
        put(entries, Owner("m", run="run-2"), "k", "x" * 40_000)

    assert removed == []
    assert entries.get(session("a"), "", "k") is not None


def test_the_sizes_add_up_after_many_operations(entries: Entries, clock: Clock) -> None:
    for number in range(300):
        clock.now += 1
        owner = (RUN, session("a"), session("b"), session("c"), session("d"))[number % 5]
        put(entries, owner, f"k{number % 7}", "x" * (number % 100), ttl=5 if number % 3 else None)
        if number % 11 == 0:
            entries.clear(owner, "", f"k{number % 3}")
    for owner in (RUN, *map(session, "abcd")):
        entries.clear(owner, "", "")

    assert entries.size == 0
