"""The budget of the memory of runs: what is dropped, in which order, and what never is."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.runs.retention import BARE_SHARE, PAGE_BYTES, PAGE_UPDATES, Account, RunMemory, Tail

from repeats import times

PACKED = 3
"""By how much the runs of these tests pack the weight of their updates."""


class Kept:
    """A run that keeps the weights of its updates, and checks each call against its own account of what is permitted."""

    def __init__(
        self,
        memory: RunMemory,
        evicted: list[Kept],
        *,
        weight: int = 0,
        tail: Tail | None = None,
        protects: bool = False,
    ) -> None:
        self.weights: dict[int, int] = {}
        self.ends: set[int] = set()
        """The last update of each entry."""
        self.packed = 0
        """Number of the last packed update."""
        self.evicted = evicted
        self.released: float = 0 if protects else inf
        self.own = weight
        self.has_ended = False
        self.forgotten = False
        self.account: Account = memory.open(self, weight=weight, tail=tail, protects=protects)

    @property
    def is_protected(self) -> bool:
        return any(number > self.released for number in self.weights)

    @property
    def is_removable(self) -> bool:
        return self.has_ended and not self.forgotten and not self.is_protected

    def fill(self, number: int, weight: int = 10, updates: int = 1) -> None:
        """Adds entries of this weight, each of so many updates."""
        for _ in range(number):
            last = self.account.last + updates
            self.weights.update(dict.fromkeys(range(last + 1 - updates, last), 0))
            self.weights[last] = weight
            self.ends.add(last)
            self.account.add(weight, updates)

    def release(self, sequence: float) -> None:
        self.released = max(self.released, sequence)
        self.account.release(sequence)

    def end(self) -> None:
        self.has_ended = True
        self.account.end()

    def pack(self, last: int) -> int:
        assert last <= self.released, "an update that its owner may read next stays unpacked"
        page = [number for number in self.weights if self.packed < number <= last]
        for number in page:
            self.weights[number] = -(-self.weights[number] // PACKED)
        self.packed = last
        return sum(self.weights[number] for number in page)

    def evict(self, last: int) -> None:
        assert last <= self.released, "a protected update is never dropped"
        is_whole = not self.weights or last in self.ends or last < min(self.weights)
        assert is_whole or self.has_ended, "an entry is dropped as a whole, the one before the terminal update aside"
        if any(number <= last for number in self.weights):
            self.evicted.append(self)
        for number in [number for number in self.weights if number <= last]:
            del self.weights[number]

    def strip(self) -> int:
        assert self.is_removable
        self.evicted.append(self)
        last = max(self.weights)
        self.weights = {last: self.weights[last]}
        return self.weights[last]

    def forget(self) -> None:
        assert self.has_ended
        self.forgotten = True


def test_the_oldest_updates_of_all_runs_go_first() -> None:
    evicted: list[Kept] = []
    memory = RunMemory(10 * PAGE_UPDATES * 10)
    early, late = Kept(memory, evicted), Kept(memory, evicted)
    early.fill(11 * PAGE_UPDATES)
    late.fill(11 * PAGE_UPDATES)
    assert not evicted  # packed, all of them fit
    early.fill(11 * PAGE_UPDATES)
    late.fill(11 * PAGE_UPDATES)
    assert memory.held <= memory.budget
    assert evicted[:10] == [early] * 10
    assert min(early.weights) > 10 * PAGE_UPDATES
    assert min(late.weights) > PAGE_UPDATES


def test_ended_runs_go_before_the_updates_of_active_ones_the_oldest_first() -> None:
    evicted: list[Kept] = []
    memory = RunMemory(20_000)
    active = Kept(memory, evicted)
    active.fill(PAGE_UPDATES)
    first, second = Kept(memory, evicted), Kept(memory, evicted)
    for run in (second, first):
        run.fill(PAGE_UPDATES)
    first.end()
    second.end()
    while len(second.weights) > 1:
        active.fill(1, 500)
        assert min(active.weights) == 1
    assert evicted[:2] == [first, second]
    assert [*first.weights] == [*second.weights] == [PAGE_UPDATES]  # their terminal updates
    assert not first.forgotten


def test_a_long_ended_run_loses_its_oldest_updates_before_it_is_forgotten() -> None:
    evicted: list[Kept] = []
    memory = RunMemory(100 * PAGE_UPDATES * 10 // PACKED)
    run = Kept(memory, evicted)
    run.fill(90 * PAGE_UPDATES)
    run.end()
    Kept(memory, evicted).fill(60 * PAGE_UPDATES)
    assert not run.forgotten
    assert min(run.weights) > 1
    assert max(run.weights) == 90 * PAGE_UPDATES


def test_what_an_owner_has_not_read_stays_whatever_the_budget_is() -> None:
    evicted: list[Kept] = []
    memory = RunMemory(1_000)
    owned = Kept(memory, evicted, protects=True)
    owned.fill(3 * PAGE_UPDATES)
    assert memory.held == 30 * PAGE_UPDATES
    owned.release(PAGE_UPDATES + 5)
    assert min(owned.weights) == PAGE_UPDATES + 6
    owned.end()
    assert len(owned.weights) == 2 * PAGE_UPDATES - 5
    owned.release(inf)
    assert memory.held <= memory.budget
    assert max(owned.weights) == 3 * PAGE_UPDATES


def test_the_number_of_ended_runs_is_bounded_too() -> None:
    memory = RunMemory(max_ended=3)
    runs = [Kept(memory, []) for _ in range(5)]
    for run in runs:
        run.fill(1)
        run.end()
    assert [run.forgotten for run in runs] == [True, True, False, False, False]


def test_a_tail_bounds_one_run_and_leaves_out_what_is_protected() -> None:
    memory = RunMemory()
    run = Kept(memory, [], tail=Tail(updates=2_000, bytes=10**9), protects=True)
    run.fill(5_000)
    assert len(run.weights) == 5_000
    run.release(4_900)
    run.fill(10)
    assert 2_000 - PAGE_UPDATES <= len(run.weights) <= 2_000
    large = Kept(memory, [], tail=Tail(updates=2_000, bytes=3 * PAGE_BYTES))
    large.fill(20, PAGE_BYTES)
    assert large.account.weight <= 3 * PAGE_BYTES
    assert max(large.weights) == 20


def test_a_run_weighs_more_than_its_updates() -> None:
    memory = RunMemory(10_000)
    runs = [Kept(memory, [], weight=3_000) for _ in range(4)]
    assert memory.held == 12_000
    for run in runs:
        run.fill(1)
        run.end()
    assert [run.forgotten for run in runs] == [True, False, False, False]


class Schedules(RuleBasedStateMachine):
    """Whatever runs do, memory is within the budget or protected, and nothing is dropped out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = RunMemory(5_000, max_ended=6)
        self.runs: list[Kept] = []

    def run_of(self, data: st.DataObject, *, ended: bool = False) -> Kept | None:
        found = [run for run in self.runs if run.has_ended == ended and not run.forgotten]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(
        weight=st.integers(0, 300), protects=st.booleans(), tail=st.sampled_from([None, Tail(200, 10**6), Tail(9, 900)])
    )
    def start(self, weight: int, protects: bool, tail: Tail | None) -> None:
        if len(self.runs) < 12:
            self.runs.append(Kept(self.memory, [], weight=weight, tail=tail, protects=protects))

    @precondition(lambda self: self.runs)
    @rule(
        data=st.data(),
        number=st.integers(1, 300),
        weight=st.sampled_from([0, 1, 30, 2_000, PAGE_BYTES]),
        updates=st.sampled_from([1, 1, 7, 200]),
    )
    def add(self, data: st.DataObject, number: int, weight: int, updates: int) -> None:
        run = self.run_of(data)
        if run is None:
            return
        removable = [one for one in self.runs if one.is_removable]
        active = {one: dict(one.weights) for one in self.runs if not one.has_ended and one is not run}
        run.fill(min(number, 5) if weight > 30 or updates > 1 else number, weight, updates)
        left = [one for one in removable if not one.forgotten]
        assert left == removable[len(removable) - len(left) :], "the earliest that has ended goes first"
        if any(len(one.weights) > 1 for one in left):
            for one, before in active.items():
                assert set(one.weights) == set(before), "an active run loses no update while there are ended ones"

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), ended=st.booleans(), part=st.floats(0, 1))
    def read(self, data: st.DataObject, ended: bool, part: float) -> None:
        run = self.run_of(data, ended=ended)
        if run is not None and run.released < inf:
            run.release(inf if part == 1 else int(run.account.last * part))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        run = self.run_of(data)
        if run is not None:
            self.runs.remove(run)  # in the order of their ends
            self.runs.append(run)
            run.end()

    @invariant()
    def the_account_is_true(self) -> None:
        kept = [run for run in self.runs if not run.forgotten]
        for run in kept:
            assert run.account.weight == run.own + sum(run.weights.values())
            assert run.account.kept == len(run.weights)
            assert sorted(run.weights) == list(range(run.account.last + 1 - len(run.weights), run.account.last + 1))
        assert self.memory.held == sum(run.account.weight for run in kept)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert sum(run.has_ended and not run.forgotten for run in self.runs) <= 6
        if self.memory.held > self.memory.budget:
            for run in self.runs:
                free = {end for end in run.ends if end <= run.released and end < run.account.last} & run.weights.keys()
                assert run.forgotten or not free
                assert run.forgotten or not run.has_ended or run.is_protected
        bare = sum(run.account.weight for run in self.runs if run.is_removable and len(run.weights) <= 1)
        assert self.memory.held <= self.memory.budget or bare <= self.memory.budget // BARE_SHARE


TestSchedules = pytest.mark.many(pytest.mark.conformance("RUN-22")(Schedules.TestCase))
TestSchedules.settings = settings(max_examples=times(60, 20), stateful_step_count=40, deadline=None)


def test_a_budget_below_1_mib_is_refused() -> None:
    with pytest.raises(ValueError, match="run_memory is 1,000 bytes: set at least 1,048,576"):
        Mesh(run_memory=1_000)
