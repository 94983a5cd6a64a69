"""Policies against naive definitions: whatever arrives in whatever order, and whenever they are asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lanemesh.node.firing.policies import Done, Fire, FiringPolicy, NotReady, OnAny, PortView, ZipAll

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine may take its time."""

Arrival = tuple[str, int]
"""Input, and which arrival of all it is."""

INPUTS = "abc"
EVENTS = st.lists(st.sampled_from([*INPUTS, "ask", "|a", "|b", "|c"]), max_size=40)
"""An input: an item arrives there. "|a": it ends. "ask": the policy decides until it has nothing more to do."""


def play(policy: FiringPolicy, events: Sequence[str]) -> tuple[list[set[Arrival]], NotReady | Done, list[Arrival]]:
    """What is fired, how it ends once every input has ended, and what was left over."""
    waiting: dict[str, list[int]] = {name: [] for name in INPUTS}
    ended: set[str] = set()
    fired: list[set[Arrival]] = []
    decision: NotReady | Done = NotReady()
    for count, event in enumerate([*events, "|a", "|b", "|c", "ask"]):
        if isinstance(decision, Done):
            break
        if event in INPUTS and event not in ended:
            waiting[event].append(count)
        elif event.startswith("|"):
            ended.add(event[1])
        elif event == "ask":
            while isinstance(step := policy.decide(views(waiting, ended)), Fire):
                fired.append({(name, waiting[name].pop(0)) for name in step.take})
            decision = step
    return fired, decision, [(name, count) for name in INPUTS for count in waiting[name]]


def views(waiting: dict[str, list[int]], ended: set[str]) -> dict[str, PortView]:
    return {name: PortView(items[0] if items else None, name in ended and not items) for name, items in waiting.items()}


def arrivals(events: Sequence[str]) -> list[Arrival]:
    """All that arrives: nothing after the end of its input."""
    found: list[Arrival] = []
    ended: set[str] = set()
    for count, event in enumerate(events):
        if event in INPUTS and event not in ended:
            found.append((event, count))
        elif event.startswith("|"):
            ended.add(event[1])
    return found


def naive_on_any(came: list[Arrival], required: set[str]) -> list[set[Arrival]]:
    """First what the required inputs and earlier optional ones had first; then every other item by itself, in order."""
    if not came or not required <= {name for name, _ in came}:
        return []
    firsts = {name: min(count for other, count in came if other == name) for name, _ in came}
    moment = max((firsts[name] for name in required), default=min(firsts.values()))
    first = {(name, count) for name, count in firsts.items() if count <= moment}
    return [first, *({arrival} for arrival in came if arrival not in first)]


@pytest.mark.conformance("FIRE-02", "FIRE-03", "FIRE-04")
@UNHURRIED
@given(EVENTS, st.sets(st.sampled_from(INPUTS)))
def test_on_any_matches_its_plain_definition(events: list[str], required: set[str]) -> None:
    came = arrivals(events)
    fired, decision, left = play(OnAny(frozenset(required)), events)
    assert fired == naive_on_any(came, required)
    assert isinstance(decision, Done)
    if required <= {name for name, _ in came}:
        assert (decision.skipped_for, left) == ("", [])
    else:
        assert decision.skipped_for in required - {name for name, _ in came}


def naive_zip(came: list[Arrival], connected: set[str], one: set[str]) -> list[set[Arrival]]:
    """The n-th items of all inputs together; what comes once is there for the first of them."""
    queues = {name: [(other, count) for other, count in came if other == name] for name in connected}
    if not all(queues.values()):
        return []
    many = connected - one
    if not many:
        return [{queue[0] for queue in queues.values()}]
    rows = [set(row) for row in zip(*(queues[name] for name in sorted(many)), strict=False)]
    rows[0] |= {queues[name][0] for name in one}
    return rows


@pytest.mark.conformance("FIRE-05", "FIRE-06", "FIRE-07")
@UNHURRIED
@given(EVENTS, st.sets(st.sampled_from(INPUTS)), st.sets(st.sampled_from(INPUTS), min_size=1))
def test_zip_all_matches_its_plain_definition(events: list[str], one: set[str], connected: set[str]) -> None:
    one &= connected
    events = [event for index, event in enumerate(events) if event not in one or event not in events[:index]]
    came = [arrival for arrival in arrivals(events) if arrival[0] in connected]
    fired, decision, _ = play(ZipAll(frozenset(one), frozenset(connected)), events)
    assert fired == naive_zip(came, connected, one)
    assert isinstance(decision, Done)
    empty = connected - {name for name, _ in came}
    assert decision.skipped_for in empty if empty else decision.skipped_for == ""
