"""The reference interpreter, on the drawings of the semantics and on small pipelines."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.found import graph
from graphs.interpret import Impossible, Part, interpret, shuffles
from graphs.shapes import Component, Graph

A, B = (Component(id=name, provider="source", settings={"count": 2}) for name in "ab")
INTO_BOTH = "a.out>n.a b.out>n.b n.out>r0 n.trace>t_n"


def source(name: str, count: int) -> Component:
    return Component(id=name, provider="source", settings={"count": count})


def fired(graph: Graph, *trace: str) -> list[dict[str, Any]]:
    """What the component "n" fired on, if it tells this."""
    return [dict(firing.values) for firing in interpret(graph, [], {"n": list(trace)}).parts["n"].firings]


def part(graph: Graph, component: str = "n", inputs: tuple[str, ...] = ()) -> Part:
    return interpret(graph, inputs).parts[component]


def told(found: Part, port: str = "trace") -> list[str]:
    return [item.value for item in found.outputs[port].items]


# on_any: FIRE-02, FIRE-03


def test_on_any_with_optional_inputs_fires_on_each_item_with_the_latest_of_the_other() -> None:
    either = graph(A, B, Component(id="n", provider="process_ao_bo"), edges=INTO_BOTH)
    drawing = ["a-0|-", "a-0|b-0", "a-1|b-0", "a-1|b-1"]
    assert fired(either, *drawing) == [
        {"a": "a-0", "b": None},
        {"a": "a-0", "b": "b-0"},
        {"a": "a-1", "b": "b-0"},
        {"a": "a-1", "b": "b-1"},
    ]
    assert len(fired(either, "-|b-0", "-|b-1", "a-0|b-1", "a-1|b-1")) == 4


@pytest.mark.parametrize(
    "trace",
    [
        "a-0|- a-0|b-0 a-1|b-0",  # b-1 was lost
        "a-0|- a-1|- a-1|b-1 a-1|b-0",  # b was reordered
        "a-0|- a-0|b-0 a-1|b-0 a-1|b-1 a-1|b-1",  # b-1 came twice
        "a-0|b-0 a-1|b-0 a-1|b-1",  # nobody waits for optional inputs
        "a-0|- -|b-0 a-1|b-0 a-1|b-1",  # a-0 was forgotten
        "a-0|- a-0|b-0 a-1|b-1",  # two at once
    ],
)
def test_what_on_any_cannot_have_done_with_optional_inputs(trace: str) -> None:
    either = graph(A, B, Component(id="n", provider="process_ao_bo"), edges=INTO_BOTH)
    with pytest.raises(Impossible):
        fired(either, *trace.split())


@pytest.mark.parametrize(
    ("trace", "possible"),
    [
        ("a-0|b-0 a-1|b-0 a-1|b-1", True),  # a1 b1 a2 b2
        ("a-0|b-0 a-0|b-1 a-1|b-1", True),
        ("a-1|b-0 a-1|b-1", False),  # nothing is skipped
        ("a-0|- a-0|b-0 a-1|b-0 a-1|b-1", False),  # both are required
    ],
)
def test_on_any_with_required_inputs_begins_with_the_first_of_each(trace: str, possible: bool) -> None:
    both = graph(A, B, Component(id="n", provider="gen_a_b"), edges=INTO_BOTH)
    if possible:
        assert len(fired(both, *trace.split())) == 3
    else:
        with pytest.raises(Impossible):
            fired(both, *trace.split())


def test_a_required_input_that_ends_empty_skips() -> None:
    empty = graph(source("a", 0), B, Component(id="n", provider="process_a_b"), edges=INTO_BOTH)
    skipped = interpret(empty, [], {"n": []}).parts["n"]
    assert (skipped.skipped, skipped.firings) == (True, [])


def test_edges_into_one_input_merge_each_in_its_order() -> None:
    merging = graph(A, B, Component(id="n", provider="relay"), edges="a.out>n.a b.out>n.a n.out>r0 n.trace>t_n")
    assert len(fired(merging, "b-0", "a-0", "a-1", "b-1")) == 4
    with pytest.raises(Impossible, match="cannot have fired on a-1"):
        fired(merging, "b-0", "a-1", "a-0", "b-1")


# zip_all: FIRE-06, FIRE-07


def test_zip_all_stops_at_the_shorter() -> None:
    uneven = graph(
        source("a", 5),
        B,
        Component(id="n", provider="process_a_b", mode="zip_all"),
        edges="a.out>n.a b.out>n.b n.out>r0",
    )
    assert told(part(uneven)) == ["a-0|b-0", "a-1|b-1"]


def test_zip_all_reuses_a_one_input_and_two_of_them_fire_once() -> None:
    once = Component(id="b", provider="once")
    zipping = Component(id="n", provider="process_a_b", mode="zip_all")
    assert told(part(graph(A, once, zipping, edges="a.out>n.a b.out>n.b n.out>r0"))) == ["a-0|b-0", "a-1|b-0"]
    assert told(part(graph(once, zipping, edges="b.out>n.a b.out>n.b n.out>r0"))) == ["b-0|b-0"]
    aggregate = Component(id="m", provider="process_al")
    reused = graph(A, aggregate, zipping, edges="a.out>n.a a.out>m.a m.out>n.b n.out>r0")
    assert len(told(part(reused))) == 2


# join: FIRE-08


def test_join_pairs_siblings_and_drops_those_without() -> None:
    joining = Component(id="n", provider="process_a_b", mode="join", fork="a.out")
    branch = Component(id="m", provider="gen_a", settings={"fan": 3})
    diamond = graph(source("a", 9), branch, joining, edges="a.out>n.a a.out>m.a m.out>n.b n.out>r0 n.trace>t_n")
    pieces = part(diamond, "m").outputs["out"].items
    numbers = [item.numbers["a.out"] for item in pieces]
    assert 1 < len(set(numbers)) < min(9, len(numbers))  # some items are dropped, of some come several
    right = [f"a-{item.numbers['a.out']}|{item.value}" for item in pieces]
    assert len(fired(diamond, *right)) == len(pieces)
    assert len(fired(diamond, *sorted(right, key=lambda told: -int(told[2])))) == len(pieces)  # whichever comes first
    with pytest.raises(Impossible):
        fired(diamond, *right[1:])
    with pytest.raises(Impossible):
        fired(diamond, *[f"a-{(item.numbers['a.out'] + 1) % 9}|{item.value}" for item in pieces])


# Lists, run nodes


def test_a_list_collects_everything_and_may_be_empty() -> None:
    collecting = Component(id="n", provider="process_al")
    assert told(part(graph(A, collecting, edges="a.out>n.a n.out>r0"))) == ["a-0,a-1"]
    assert told(part(graph(source("a", 0), collecting, edges="a.out>n.a n.out>r0"))) == [""]


def test_pieces_are_put_together_to_wholes_and_those_of_a_failed_firing_left_out() -> None:
    def assembling(**settings: Any) -> Graph:
        pieces = Component(id="m", provider="pieces_a", settings={"fan": 4, **settings}, on_error="skip")
        return graph(
            source("a", 9), pieces, Component(id="n", provider="process_aw"), edges="a.out>m.a m.out>n.a n.out>r0"
        )

    whole = told(part(assembling()))
    assert "".join(whole) == "".join(told(part(assembling(), "m"), "out"))
    assert any(value.count("+") > 1 for value in whole)
    late = told(part(assembling(fail=2, late=True)))
    assert 0 < len(late) < len(whole)
    assert set(late) < set(whole)


def test_run_nodes_take_what_they_like() -> None:
    take = graph(source("a", 9), Component(id="n", provider="take", settings={"count": 3}), edges="a.out>n.a n.out>r0")
    assert told(part(take)) == ["a-0", "a-1", "a-2"]
    gather = graph(A, Component(id="n", provider="gather"), edges="a.out>n.a n.out>r0")
    assert told(part(gather)) == ["a-0,a-1"]
    phased = graph(A, B, Component(id="n", provider="phased"), edges="a.out>n.a b.out>n.b n.out>r0")
    assert told(part(phased)) == ["a-0|-", "a-1|-", "-|b-0", "-|b-1"]
    merge = graph(A, B, Component(id="n", provider="merge"), edges=INTO_BOTH)
    assert len(fired(merge, "a-0|-", "-|b-0", "-|b-1", "a-1|-")) == 4


# Failures


def failing(provider: str = "process_a", on_error: str | int = "fail", **settings: Any) -> Graph:
    component = Component(id="n", provider=provider, settings={"fail": 2, **settings}, on_error=on_error)
    return graph(source("a", 12), component, edges="a.out>n.a n.out>r0 n.trace>t_n")


def test_a_failure_ends_what_comes_of_it_unless_firings_are_skipped_or_tried_again() -> None:
    fatal, skipping = part(failing()), part(failing(on_error="skip"))
    assert fatal.fatal is not None
    assert not fatal.outputs["out"].clean
    assert skipping.fatal is None
    assert skipping.outputs["out"].clean
    assert 0 < skipping.dropped < 12
    assert len(told(skipping)) == 12 - skipping.dropped
    assert told(skipping)[: len(told(fatal))] == told(fatal)
    assert len(told(part(failing(on_error=3, flaky=2)))) == 12
    assert part(failing(on_error=3, flaky=3)).fatal is not None
    assert part(failing(on_error=3)).fatal is not None


def test_a_generator_that_fails_late_has_sent_something_and_is_not_tried_again() -> None:
    late = part(failing("gen_a", "skip", late=True, fan=3))
    assert len(told(late)) == 12
    assert late.dropped
    assert part(failing("gen_a", 4, late=True, flaky=1, fan=3)).fatal is not None


def test_nothing_is_gathered_from_what_breaks_off() -> None:
    broken = graph(
        source("a", 12),
        Component(id="m", provider="process_a", settings={"fail": 1}),
        Component(id="n", provider="gather"),
        edges="a.out>m.a m.out>n.a n.out>r0",
    )
    assert part(broken).firings == []


def test_what_depends_on_an_untold_order_is_unknown() -> None:
    after = graph(
        A,
        B,
        Component(id="n", provider="merge"),
        Component(id="m", provider="relay"),
        edges=f"{INTO_BOTH} n.out>m.a m.out>r1",
    )
    assert interpret(after, []).unknown == {"n", "m"}
    assert interpret(after, [], {"n": ["a-0|-", "a-1|-", "-|b-0", "-|b-1"]}).unknown == frozenset()


def test_shuffles() -> None:
    assert shuffles(["ab", "ac"], "aabc")
    assert shuffles(["ab", "ac"], "acab")
    assert not shuffles(["ab", "ac"], "abca")
    assert not shuffles(["ab", "ac"], "aab")
    assert shuffles(["ab", "ac"], "aab", whole=False)
    assert not shuffles(["ab", "ac"], "ba", whole=False)
