"""The detector of artificial deadlock: against its naive definition, against a model of a run, and case by case."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh.node.waits import Wait
from lanemesh_orchestrator.deadlock import snapshot
from lanemesh_orchestrator.deadlock.detector import closed_wait_set, find_deadlock, is_suspect
from lanemesh_orchestrator.deadlock.snapshot import ActorState, EdgeIndex, EndpointState, Link, Snapshot

from repeats import times
from unit.deadlock.deadlock_model import Act, Model, grown

pytestmark = pytest.mark.conformance("RUN-16", "RUN-17")

NAMES = "abcde"


def link(producer: str, consumer: str, port: str = "") -> Link:
    """An edge; its port has the name of the producer by default."""
    return Link(f"{producer}>{consumer}" + (f".{port}" if port else ""), producer, consumer, port or producer)


def look_at(
    links: EdgeIndex,
    actors: Mapping[str, Wait | None],
    ends: Mapping[str, EndpointState] | None = None,
    *,
    version: int = 1,
) -> Snapshot:
    """A snapshot of actors that wait or are busy; both ends of each edge report the same."""
    both = {edge: EndpointState(limit_items=16) for edge in links.by_id} | dict(ends or {})
    states = {name: ActorState(version, (wait,) if wait is not None else ()) for name, wait in actors.items()}
    return Snapshot(states, both, both)


FULL = EndpointState(items=20, taken=4, limit_items=16)
"""An end of a full edge."""

# `source` sends to `agg`, which collects, and to `b`, which wants what `agg` makes of it first.
TRIANGLE = EdgeIndex([link("source", "agg"), link("source", "b"), link("agg", "b")], lists=[("agg", "source")])
LOCKED = {
    "source": Wait(full_edges=("source>b",)),
    "agg": Wait(any_inputs=("source",)),
    "b": Wait(all_inputs=("agg",)),
}


def test_reconverging_paths_of_which_one_collects() -> None:
    look = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    stuck = find_deadlock(TRIANGLE, look, look)
    assert stuck is not None
    assert (stuck.components, stuck.lane) == (frozenset({"source", "agg", "b"}), "source>b")
    assert (stuck.limit_items, stuck.limit_bytes, stuck.at_ceiling) == (32, 1, False)
    assert stuck.cycle == (
        'source waits for capacity on source>b (16 of 16 items), b waits for an item at "agg" from agg, '
        'agg waits for the end of its input "source" from source'
    )


def test_a_healthy_lane_looks_stuck_once_and_is_cleared_by_a_second_look() -> None:
    """Both ends of a busy lane wait at almost any instant: for credit that is under way, and for items that are."""
    links = EdgeIndex([link("a", "b")])
    waits = {"a": Wait(full_edges=("a>b",)), "b": Wait(any_inputs=("a",))}
    first = look_at(links, waits, version=1)
    assert is_suspect(links, first)
    assert find_deadlock(links, first, look_at(links, waits, version=2)) is None  # they have moved
    under_way = replace(first, producers={"a>b": FULL}, consumers={"a>b": replace(FULL, items=19)})
    assert find_deadlock(links, under_way, under_way) is None  # an item is under way
    taken = replace(first, producers={"a>b": FULL}, consumers={"a>b": replace(FULL, taken=20)})
    assert find_deadlock(links, taken, taken) is None  # credit is under way


def test_an_item_that_has_just_arrived_has_still_to_wake_its_taker() -> None:
    before = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    arrived = EndpointState(items=1, limit_items=16)
    ends = {**before.consumers, "agg>b": arrived}
    assert (
        find_deadlock(TRIANGLE, replace(before, producers=ends), replace(before, producers=ends, consumers=ends))
        is None
    )


@pytest.mark.parametrize(
    "changed",
    [{"source": None}, {"agg": None}, {"b": None}, {"b": Wait(any_inputs=("agg", "source"), full_edges=())}],
    ids=["source-busy", "agg-busy", "b-busy", "b-takes-either"],
)
def test_who_may_move_by_itself_unlocks_the_others(changed: Mapping[str, Wait | None]) -> None:
    ends = {"source>b": FULL}
    if "b" in changed and changed["b"] is not None:  # an item under way to it wakes it
        ends["source>b"] = replace(FULL, items=21, limit_items=17)
    look = look_at(TRIANGLE, {**LOCKED, **changed}, ends)
    moving = replace(look, producers={**look.producers, "source>b": replace(FULL, items=22, limit_items=17)})
    assert find_deadlock(TRIANGLE, moving, moving) is None


def test_a_server_that_does_not_answer_counts_as_busy() -> None:
    look = look_at(TRIANGLE, {"source": LOCKED["source"], "b": LOCKED["b"]}, {"source>b": FULL})
    assert find_deadlock(TRIANGLE, look, look) is None
    silent = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    unknown = replace(silent, producers={})
    assert find_deadlock(TRIANGLE, unknown, unknown) is None


def test_growth_that_is_under_way_is_waited_for() -> None:
    look = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    told = grown(look, "source>b", 32)
    assert find_deadlock(TRIANGLE, told, told) is None


def test_an_end_or_a_stop_that_is_under_way_is_waited_for() -> None:
    look = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    ended = {**look.producers, "agg>b": EndpointState(limit_items=16, ended=True)}
    assert find_deadlock(TRIANGLE, replace(look, producers=ended), replace(look, producers=ended)) is None
    stopped = {**look.consumers, "source>b": replace(FULL, ended=True)}
    assert find_deadlock(TRIANGLE, replace(look, consumers=stopped), replace(look, consumers=stopped)) is None


def test_an_end_that_has_just_arrived_has_still_to_wake_its_taker() -> None:
    before = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    ended = {"agg>b": EndpointState(limit_items=16, ended=True)}
    now = replace(before, producers={**before.producers, **ended}, consumers={**before.consumers, **ended})
    assert find_deadlock(TRIANGLE, before, now) is None


def test_a_receiver_that_holds_back_for_bytes_has_its_bytes_doubled() -> None:
    """What is under way on such a lane stays there."""
    held = EndpointState(items=1, limit_items=16, held_bytes=1 << 20, limit_bytes=1 << 20)
    sent = EndpointState(items=3, limit_items=16, held_bytes=2 << 20, limit_bytes=1 << 20)
    look = look_at(TRIANGLE, LOCKED)
    look = replace(look, producers={**look.producers, "source>b": sent}, consumers={**look.consumers, "source>b": held})
    stuck = find_deadlock(TRIANGLE, look, look)
    assert stuck is not None
    assert (stuck.limit_items, stuck.limit_bytes) == (16, 2 << 20)
    assert stuck.cycle.startswith("source waits for capacity on source>b (1,048,576 of 1,048,576 bytes), b waits")


def test_the_smallest_lane_of_the_cycle_is_grown_and_no_other() -> None:
    """`up` only waits behind the deadlock: capacity on its lane would not resolve it."""
    links = EdgeIndex([*TRIANGLE.by_id.values(), link("up", "source"), link("source", "b", "second")])
    waits = {
        **LOCKED,
        "up": Wait(full_edges=("up>source",)),
        "source": Wait(full_edges=("source>b", "source>b.second")),
    }
    ends = {
        "source>b": replace(FULL, items=64, taken=0, limit_items=64),
        "source>b.second": replace(FULL, items=32, taken=0, limit_items=32),
        "up>source": replace(FULL, items=1, taken=0, limit_items=1),
    }
    look = look_at(links, waits, ends)
    stuck = find_deadlock(links, look, look)
    assert stuck is not None
    assert "up" in stuck.components
    assert (stuck.lane, stuck.limit_items) == ("source>b.second", 64)


def test_two_deadlocks_at_once_are_found_one_after_the_other() -> None:
    second = [link("s2", "agg2"), link("s2", "b2"), link("agg2", "b2")]
    links = EdgeIndex([*TRIANGLE.by_id.values(), *second])
    waits = {
        **LOCKED,
        "s2": Wait(full_edges=("s2>b2",)),
        "agg2": Wait(any_inputs=("s2",)),
        "b2": Wait(all_inputs=("agg2",)),
    }
    small = replace(FULL, items=8, taken=0, limit_items=8)
    look = look_at(links, waits, {"source>b": FULL, "s2>b2": small})
    stuck = find_deadlock(links, look, look)
    assert stuck is not None
    assert stuck.lane == "s2>b2"
    freed = look_at(links, {**waits, "s2": None}, {"source>b": FULL})
    stuck = find_deadlock(links, freed, freed)
    assert stuck is not None
    assert (stuck.lane, stuck.components) == ("source>b", frozenset({"source", "agg", "b"}))


def test_nodes_that_merely_wait_for_input_are_no_deadlock() -> None:
    look = look_at(TRIANGLE, {**LOCKED, "source": Wait(any_inputs=("nothing",))})
    assert not is_suspect(TRIANGLE, look)
    assert find_deadlock(TRIANGLE, look, look) is None


def test_one_of_several_tasks_that_may_go_on_is_enough() -> None:
    look = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    several = replace(look.actors["source"], waits=(Wait(full_edges=("source>b",)), Wait(full_edges=("source>x",))))
    links = EdgeIndex([*TRIANGLE.by_id.values(), link("source", "x")])
    look = replace(look, actors={**look.actors, "source": several})
    assert find_deadlock(links, look, look) is None


def test_at_the_ceiling_nothing_is_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    look = look_at(TRIANGLE, LOCKED, {"source>b": FULL})
    monkeypatch.setattr(snapshot, "MAX_LIMIT_ITEMS", 24)
    stuck = find_deadlock(TRIANGLE, look, look)
    assert stuck is not None
    assert (stuck.limit_items, stuck.at_ceiling) == (24, False)
    monkeypatch.setattr(snapshot, "MAX_LIMIT_ITEMS", 16)
    stuck = find_deadlock(TRIANGLE, look, look)
    assert stuck is not None
    assert stuck.at_ceiling


@st.composite
def single_looks(draw: st.DrawFn) -> tuple[EdgeIndex, Snapshot]:
    """A small graph and what its actors wait for, sensible or not."""
    names = NAMES[: draw(st.integers(2, 5))]
    pairs = [(a, b) for a in names for b in names if a != b]
    links = EdgeIndex(
        link(a, b, draw(st.sampled_from(["p", "q"]))) for a, b in draw(st.lists(st.sampled_from(pairs), max_size=8))
    )
    actors = {}
    ended = draw(st.sets(st.sampled_from(sorted(links.by_id)))) if links.by_id else set()
    for name in names:
        leaving = [edge for edge in links.by_id if links.by_id[edge].producer == name]
        waits = [st.builds(lambda some: Wait(any_inputs=tuple(some)), st.sets(st.sampled_from("pq"), min_size=1))]
        waits.append(st.builds(lambda some: Wait(all_inputs=tuple(some)), st.sets(st.sampled_from("pq"), min_size=1)))
        if leaving:
            waits.append(
                st.builds(lambda some: Wait(full_edges=tuple(some)), st.sets(st.sampled_from(leaving), min_size=1))
            )
        actors[name] = ActorState(1, tuple(draw(st.lists(st.one_of(waits), max_size=2))))
    ends = {edge: EndpointState(ended=edge in ended) for edge in links.by_id}
    return links, Snapshot(actors, ends, ends)


def naive(links: EdgeIndex, look: Snapshot) -> frozenset[str]:
    """The definition, word by word: the largest set of idle actors of whom none could be woken by an actor outside it."""

    def live(name: str, port: str) -> list[str]:
        return [edge.producer for edge in links.into(name, port) if not look.consumers[edge.id].ended]

    def may_be_woken(name: str, inside: frozenset[str]) -> bool:
        for wait in look.actors[name].waits:
            if wait.full_edges:
                takers = [links.by_id[edge].consumer for edge in wait.full_edges if not look.consumers[edge].ended]
                woken = not any(taker in inside for taker in takers)
            elif wait.any_inputs:
                woken = any(producer not in inside for port in wait.any_inputs for producer in live(name, port))
            else:
                missing = [live(name, port) for port in wait.all_inputs]
                woken = all(not port or any(producer not in inside for producer in port) for port in missing)
            if woken:
                return True
        return False

    idle = [name for name, actor in look.actors.items() if actor.waits]
    for size in range(len(idle), 0, -1):
        for some in combinations(idle, size):
            if not any(may_be_woken(name, frozenset(some)) for name in some):
                return frozenset(some)
    return frozenset()


@given(single_looks())
@pytest.mark.many
@settings(max_examples=times(150, 25), deadline=None)
def test_the_set_is_that_of_the_naive_definition(case: tuple[EdgeIndex, Snapshot]) -> None:
    links, look = case
    assert closed_wait_set(links, look) == naive(links, look)


def random_run(chance: random.Random) -> Model:
    """A run of up to five actors with scripts at random; nothing flows in circles."""
    names = NAMES[: chance.randint(2, 5)]
    pairs = [(a, b) for number, a in enumerate(names) for b in names[number + 1 :]]
    chosen = [pair for pair in pairs if chance.random() < 0.7] or pairs[:1]
    links = [link(a, b, chance.choice("pq")) for a, b in chosen]
    scripts: dict[str, list[Act]] = {}
    for name in names:
        leaving = [edge.id for edge in links if edge.producer == name]
        ports = sorted({edge.input for edge in links if edge.consumer == name})
        script = []
        for _ in range(chance.randint(1, 10)):
            kinds = ["emit"] * 3 * bool(leaving) + ["any", "all"] * bool(ports) + ["outside"] * (chance.random() < 0.2)
            kind = chance.choice(kinds or ["outside"])
            some = leaving if kind == "emit" else ports
            names_of = tuple(sorted(chance.sample(some, chance.randint(1, len(some))))) if kind != "outside" else ()
            script.append(Act(kind, names_of))
        scripts[name] = script
    return Model(scripts, links, {edge.id: chance.randint(1, 2) for edge in links})


def spread_look(model: Model, chance: random.Random, pace: float) -> Snapshot:
    """A look that takes its time: every actor and every end is asked at a moment of its own, while the run goes on."""
    look = Snapshot({}, {}, {})
    asked = [(kind, name) for kind in ("producer", "consumer") for name in model.lanes]
    asked += [("actor", name) for name in model.actors]
    chance.shuffle(asked)
    for kind, name in asked:
        while chance.random() < pace and (steps := model.steps()):
            chance.choice(steps)()
        if kind == "actor":
            state = model.actor_state(name)
            if state is not None:
                look = replace(look, actors={**look.actors, name: state})
        elif kind == "producer":
            look = replace(look, producers={**look.producers, name: model.producer_end(name)})
        else:
            look = replace(look, consumers={**look.consumers, name: model.consumer_end(name)})
    return look


@given(st.integers(0, 2**32), st.floats(0.0, 0.5))
@pytest.mark.many
@settings(max_examples=times(800, 100), deadline=None)
def test_what_is_called_stuck_never_moves_again_and_what_has_stopped_for_ever_is_found(seed: int, pace: float) -> None:
    chance = random.Random(seed)
    model = random_run(chance)
    over = False
    while True:
        first = spread_look(model, chance, pace)
        model.turn()  # a server's event loop turns between the probes, so actors that were ready at the first probe run
        second = spread_look(model, chance, pace)
        stuck = find_deadlock(model.links, first, second)
        if stuck is not None or over:
            break
        over = not model.steps()
        for _ in range(chance.randint(1, 4)):
            if steps := model.steps():
                chance.choice(steps)()
    if stuck is not None:
        assert model.links.by_id[stuck.lane].producer in stuck.components
        places = {name: len(model.actors[name].script) for name in stuck.components}
        while steps := model.steps():
            chance.choice(steps)()
        assert places == {name: len(model.actors[name].script) for name in stuck.components}
    else:  # nothing moves any more, and no actor waits for capacity
        assert not any(wait.full_edges for actor in model.look().actors.values() for wait in actor.waits)
