"""Firing policies as pure functions: what they decide over what waits."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from lanemesh.node.firing.policies import Done, Fire, FiringPolicy, NotReady, OnAny, PortView, ZipAll

Arrival = tuple[str, int]


class Ports:
    """Ports that items arrive at, without any inbox."""

    def __init__(self, names: str) -> None:
        self.waiting: dict[str, deque[int]] = {name: deque() for name in names}
        self.ended: set[str] = set()
        self.arrivals = 0

    def arrive(self, name: str) -> Arrival:
        self.arrivals += 1
        self.waiting[name].append(self.arrivals)
        return name, self.arrivals

    def views(self) -> dict[str, PortView]:
        return {
            name: PortView(items[0] if items else None, name in self.ended and not items)
            for name, items in self.waiting.items()
        }

    def take(self, fire: Fire) -> list[Arrival]:
        return [(name, self.waiting[name].popleft()) for name in fire.take]


def fire_all(policy: FiringPolicy, ports: Ports) -> tuple[list[list[Arrival]], NotReady | Done]:
    """Carries out every firing; returns them, and what comes then."""
    fired = []
    while isinstance(decision := policy.decide(ports.views()), Fire):
        fired.append(ports.take(decision))
    return fired, decision


def test_on_any_waits_for_what_is_required_and_then_for_anything() -> None:
    ports, policy = Ports("ab"), OnAny(frozenset("a"))
    assert fire_all(policy, ports) == ([], NotReady())
    ports.arrive("b")
    assert fire_all(policy, ports) == ([], NotReady())
    ports.arrive("a")
    assert fire_all(policy, ports) == ([[("a", 2), ("b", 1)]], NotReady())
    ports.arrive("b")
    assert fire_all(policy, ports) == ([[("b", 3)]], NotReady())
    ports.ended = set("ab")
    assert fire_all(policy, ports) == ([], Done())


def test_on_any_is_skipped_for_a_required_input_that_ended_empty() -> None:
    ports = Ports("ab")
    ports.arrive("b")
    ports.ended = {"a"}
    assert fire_all(OnAny(frozenset("ab")), ports) == ([], Done(skipped_for="a"))


def test_on_any_with_nothing_required_ends_without_firing_if_nothing_came() -> None:
    ports = Ports("ab")
    ports.ended = set("ab")
    assert fire_all(OnAny(frozenset()), ports) == ([], Done())


def test_zip_all_stops_at_the_shorter() -> None:
    ports, policy = Ports("ab"), ZipAll(frozenset(), frozenset("ab"))
    for name in "abbb":
        ports.arrive(name)
    assert fire_all(policy, ports) == ([[("a", 1), ("b", 2)]], NotReady())
    ports.ended = {"a"}
    assert fire_all(policy, ports) == ([], Done())
    assert len(ports.waiting["b"]) == 2


def test_zip_all_with_one_item_inputs_only_fires_once() -> None:
    ports, policy = Ports("ab"), ZipAll(frozenset("ab"), frozenset("ab"))
    for name in "ab":
        ports.arrive(name)
    assert fire_all(policy, ports) == ([[("a", 1), ("b", 2)]], Done())


def test_zip_all_is_skipped_for_the_first_item_that_never_came() -> None:
    ports = Ports("ab")
    ports.ended = {"b"}
    assert fire_all(ZipAll(frozenset(), frozenset("ab")), ports) == ([], Done(skipped_for="b"))


@given(
    st.lists(st.sampled_from("abc"), max_size=30),
    st.sets(st.sampled_from("abc")),
    st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_on_any_fires_every_item_once_in_order_whenever_it_is_asked(
    arriving: list[str], required: set[str], asked: list[bool]
) -> None:
    ports, policy = Ports("abc"), OnAny(frozenset(required))
    fired: list[list[Arrival]] = []
    for name, ask in zip(arriving, asked, strict=False):
        ports.arrive(name)
        if ask:
            fired += fire_all(policy, ports)[0]
    ports.ended = set("abc")
    last, decision = fire_all(policy, ports)
    fired += last
    if not required <= set(arriving):
        assert not fired
        assert isinstance(decision, Done)
        assert decision.skipped_for in required - set(arriving)
        return
    assert decision == Done()
    taken = [arrival for firing in fired for arrival in firing]
    assert sorted(number for _, number in taken) == list(range(1, len(arriving) + 1))  # each once, none skipped
    if fired:
        assert required <= {name for name, _ in fired[0]}
        assert all(len(firing) == 1 for firing in fired[1:])
    for name in "abc":
        own = [number for port, number in taken if port == name]
        assert own == sorted(own)


@given(st.lists(st.sampled_from("ab"), max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
def test_zip_all_pairs_by_index_whenever_it_is_asked(arriving: list[str], asked: list[bool]) -> None:
    ports, policy = Ports("ab"), ZipAll(frozenset(), frozenset("ab"))
    came: dict[str, list[int]] = {"a": [], "b": []}
    fired: list[list[Arrival]] = []
    for name, ask in zip(arriving, asked, strict=False):
        came[name].append(ports.arrive(name)[1])
        if ask:
            fired += fire_all(policy, ports)[0]
    ports.ended = set("ab")
    fired += fire_all(policy, ports)[0]
    expected = [[("a", a), ("b", b)] for a, b in zip(came["a"], came["b"], strict=False)]
    assert fired == expected
