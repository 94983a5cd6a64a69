"""Components that can and that must be placed again, and the requests to their servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from lanemesh.features import FEATURES, Feature
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import Graph, ServerAddress, plan, recovery, validate
from lanemesh_orchestrator.pipeline.recovery import consumers_beyond, delivered_unkept, recovery_blockers, settled

from unit.pipeline.documents import component, manifests, sends, takes, write

HERE, LEFT, RIGHT = ServerAddress("here", "h:1"), ServerAddress("left", "l:1"), ServerAddress("right", "r:1")


def restartable(provider: str, *inputs: node_pb2.InputPort, **fields: Any) -> node_pb2.Manifest:
    return node_pb2.Manifest(
        provider=provider, inputs=inputs, outputs=[sends("out", "text")], restartable=True, **fields
    )


TYPES = {
    manifest.provider: manifest
    for manifest in (
        restartable("steady", takes("text", "text")),
        restartable("several", takes("text", "text"), takes("more", "text", required=False)),
        restartable("spelling", takes("text", "text"), is_streaming_output=True),
        restartable("driving", takes("text", "text"), is_streaming_input=True),
        restartable("listing", takes("text", "text", list=True)),
        restartable("whole", takes("text", "text", assembled=True)),
        restartable("once"),
    )
}


def build(*components: dict[str, Any], **more: Any) -> Graph:
    return validate(write(component("chat", "chat"), *components, **more), {**manifests(), **TYPES})


def test_what_passes_on_one_input_can_be_placed_again() -> None:
    graph = build(component("c", "steady", "text chat"), component("out", "response", "text c"))
    assert recovery_blockers(graph) == {"chat": "runs in the orchestrator", "c": "", "out": "runs in the orchestrator"}


@pytest.mark.parametrize(
    ("hindered", "why"),
    [
        (component("c", "shout", "text chat"), "is of a node type that is not restartable"),
        (component("c", "driving", "text chat"), "reads its own inputs"),
        (component("c", "listing", "text chat"), "collects what comes"),
        (component("c", "whole", "text chat"), "collects what comes"),
        (component("c", "once"), "has no input"),
        (component("c", "steady", "text chat", sync_mode="zip_all"), "pairs items"),
        (component("c", "steady", "text chat", concurrency=2), "has concurrent firings"),
        (
            component("c", "steady", input=[{"lane": "text", "from": "chat", "merge": "group"}]),
            "has an input with `merge: group`",
        ),
        (
            component(
                "c",
                "several",
                input=[
                    {"lane": "text", "from": "chat", "input": "text"},
                    {"lane": "text", "from": "chat", "input": "more"},
                ],
            ),
            "has several inputs",
        ),
    ],
)
def test_what_knows_more_than_its_last_item_cannot(hindered: dict[str, Any], why: str) -> None:
    assert recovery_blockers(build(hindered))["c"] == why


def test_several_edges_are_fine_unless_one_group_may_come_by_two_of_them() -> None:
    two = [component("a", "steady", "text chat"), component("b", "steady", "text chat")]
    passing = build(*two, component("c", "steady", "text a", "text b"))
    assert recovery_blockers(passing)["c"] == "passes on groups of several edges"
    opening = build(*two, component("c", "spelling", "text a", "text b"))
    assert recovery_blockers(opening)["c"] == ""
    apart = build(component("o", "once"), component("p", "once"), component("c", "steady", "text o", "text p"))
    assert recovery_blockers(apart)["c"] == ""


def test_edges_of_recoverable_components_are_marked() -> None:
    graph = build(
        component("c", "spelling", "text chat"),
        component("d", "steady", "text c"),
        component("out", "response", "text d"),
    )
    places = plan(graph, {"chat": HERE, "c": LEFT, "d": RIGHT, "out": HERE}, run_id="r")
    marks = {
        edge.id: (edge.replayable, edge.reopenable, edge.own_groups, edge.reopen, edge.incarnation)
        for place in places.values()
        for edge in place.edges
    }
    assert marks == {
        "chat.text>c.text": (True, False, False, False, 0),
        "c.out>d.text": (True, True, True, False, 0),
        "d.out>out.text": (False, True, False, False, 0),
    }
    alone = plan(graph, dict.fromkeys(graph.components, HERE), run_id="r")["here"]
    assert not any(edge.replayable or edge.reopenable for edge in alone.edges)


def test_only_what_was_lost_is_placed_again() -> None:
    graph = build(
        component("c", "steady", "text chat"),
        component("d", "steady", "text c"),
        component("e", "steady", "text c"),
        component("out", "response", "text d", "text e"),
    )
    again = ServerAddress("left", "l:1", incarnation=2)
    servers = {"chat": HERE, "c": again, "d": again, "e": LEFT, "out": HERE}
    places = plan(graph, servers, run_id="r", timeout=3, again=["c", "d"], done=["d.out>out.text"])
    assert list(places) == ["left"]
    place = places["left"]
    assert (place.incarnation, place.timeout.seconds) == (2, 3)
    assert [instance.component for instance in place.instances] == ["c", "d"]
    told = {edge.id: (edge.consumer_address, edge.incarnation, edge.reopen) for edge in place.edges}
    assert told == {
        "chat.text>c.text": ("l:1", 2, False),
        "c.out>d.text": ("", 2, False),
        "c.out>e.text": ("l:1", 0, True),  # the same server, another part
    }


def test_settled_is_what_needs_nothing_more() -> None:
    graph = build(
        component("c", "steady", "text chat"),
        component("d", "steady", "text c"),
        component("e", "steady", "text chat"),
        component("f", "spelling", "text d", "text e"),
    )
    fed = "chat.text>c.text"
    assert settled(graph, ["c", "d"], [fed]) == {"c", "d"}
    assert settled(graph, ["c", "d"], []) == set()
    assert settled(graph, ["d", "e", "f"], ["c.out>d.text"]) == {"d"}
    assert settled(graph, ["d", "e", "f"], ["c.out>d.text", "chat.text>e.text"]) == {"d", "e", "f"}


def in_a_row() -> Graph:
    """c, d and e, and another producer of d."""
    return build(
        component("c", "steady", "text chat"),
        component("o", "once"),
        component("d", "steady", "text c", "text o"),
        component("e", "spelling", "text d"),
        component("out", "response", "text e"),
    )


@pytest.mark.parametrize(
    ("lost", "done", "unkept", "found"),
    [
        ("d", "d.out>e.text", "", ""),
        ("d", "", "d", ""),
        ("d", "d.out>e.text", "d", "d"),
        ("cd", "d.out>e.text", "d", "d"),
        ("de", "", "d", ""),
        ("de", "e.out>out.text", "d", "de"),
        ("de", "e.out>out.text", "e", "e"),
        ("cde", "e.out>out.text", "d", "de"),
    ],
)
def test_what_no_server_keeps_is_not_needed_again_if_all_that_came_of_it_has_arrived(
    lost: str, done: str, unkept: str, found: str
) -> None:
    assert delivered_unkept(in_a_row(), lost, [done], unkept) == set(found)


def test_a_component_without_outputs_has_never_delivered_everything() -> None:
    graph = build(component("c", "steady", "text chat"), component("d", "steady", "text c"))
    assert delivered_unkept(graph, "d", ["c.out>d.text"], "d") == set()


def test_no_more_items_come_over_done_edges_from_what_is_placed_again() -> None:
    graph, done = in_a_row(), ["c.out>d.text", "o.out>d.text", "d.out>e.text"]
    assert consumers_beyond(graph, "c", done) == {"d": "c"}
    assert consumers_beyond(graph, "cd", done) == {"e": "d"}
    assert consumers_beyond(graph, "e", done) == {}


def test_nothing_is_replayable_whose_producer_cannot_replay() -> None:
    graph = build(
        component("c", "steady", "text chat"),
        component("d", "steady", "text c"),
        component("out", "response", "text d"),
    )
    where = {"chat": HERE, "c": LEFT, "d": RIGHT, "out": HERE}
    both = {edge.id: edge for place in plan(graph, where, run_id="r").values() for edge in place.edges}
    assert both["c.out>d.text"].replayable
    assert both["c.out>d.text"].reopenable
    for without in ("c", "d"):
        old = ServerAddress(where[without].name, where[without].address, features={"joins"})
        places = plan(graph, {**where, without: old}, run_id="r")
        edges = {edge.id: edge for place in places.values() for edge in place.edges}
        assert not edges["c.out>d.text"].replayable
        assert not edges["c.out>d.text"].reopenable
        assert "recovery" not in places[old.name].features
    why = recovery_blockers(graph, {"d"})
    assert why["d"] == 'is on a server without the feature "recovery"'
    assert why["c"] == 'exchanges items with d, whose server lacks the feature "recovery"'


def test_a_place_lists_the_features_that_it_needs() -> None:
    graph = build(component("c", "steady", "text chat"), component("out", "response", "text c"), trace="full")
    places = plan(graph, {"chat": HERE, "c": LEFT, "out": HERE}, run_id="r", traceparent="00-1-2-3")
    assert {name: list(place.features) for name, place in places.items()} == {
        "here": ["lane-keys", "merged-frames", "quick-starts", "recovery", "short-lanes", "traces"],
        "left": ["lane-keys", "merged-frames", "quick-starts", "recovery", "short-lanes", "traces"],
    }
    assert {place.traceparent for place in places.values()} == {"00-1-2-3"}
    old = ServerAddress("left", "l:1", features=())
    places = plan(graph, {"chat": HERE, "c": old, "out": HERE}, run_id="r")
    assert (list(places["left"].features), places["left"].trace) == ([], 0)


def test_all_servers_of_a_run_get_its_key_or_none_does() -> None:
    graph = build(component("c", "steady", "text chat"), component("out", "response", "text c"))
    where = {"chat": HERE, "c": LEFT, "out": HERE}
    old = {**where, "c": ServerAddress("left", "l:1", features=FEATURES - {Feature.LANE_KEYS})}

    def keys(servers: Mapping[str, ServerAddress], **options: Any) -> set[bytes]:
        return {place.lane_key for place in plan(graph, servers, run_id="r", **options).values()}

    assert keys(where, lane_key=b"1" * 16) == {b"1" * 16}
    assert keys(where, lane_key=b"2" * 16) == {b"2" * 16}  # the plan is kept, the key is not
    assert keys(old, lane_key=b"1" * 16) == {b""}
    assert keys(old, lane_key=b"1" * 16, again=["c"]) == {b"1" * 16}  # its server refuses the part
    assert keys(where, again=["c"]) == {b""}  # the other servers of the run have no key


def test_a_chain_is_planned_without_its_ancestors(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_walk(*_: object) -> frozenset[str]:
        raise AssertionError("an edge alone reconverges with none, so its ancestors do not matter")

    monkeypatch.setattr(recovery, "ancestors", no_walk)
    graph = build(
        component("a", "steady", "text chat"),
        component("b", "steady", "text a"),
        component("out", "response", "text b"),
    )
    assert recovery_blockers(graph)["b"] == ""
