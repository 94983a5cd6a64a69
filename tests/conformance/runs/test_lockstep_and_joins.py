"""`zip_all` and `join` in runs: over memory lanes in one process, and over gRPC lanes between processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh

from repeats import times
from rigs.joining_nodes import number_of
from rigs.runs import Component, Pipeline, chat, ended, lane, node, node_update, pipeline, response, states

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

COMPLETED, FAILED = update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED


def two(left: str, right: str, mode: str, name: str = "c", limit: int = 4, **more: Any) -> Component:
    """A component that pairs the texts of two others."""
    inputs = [lane(left, input="left", buffer_limit=limit), lane(right, input="right", buffer_limit=limit)]
    return {**node(name, "pair", *inputs), "sync_mode": mode, **more}


def texts(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def in_order(pairs: Sequence[str]) -> list[str]:
    """Pairs by their number; those of one number keep their order."""
    return sorted(pairs, key=number_of)


@pytest.mark.conformance("FIRE-05")
@pytest.mark.parametrize("slow", ["left", "right"])
async def test_zip_all_pairs_by_index_whichever_side_is_late(mesh: Mesh, slow: str) -> None:
    sides = ("slow", "mark") if slow == "left" else ("mark", "slow")
    document = pipeline(
        chat(), node("a", sides[0], "chat"), node("b", sides[1], "chat"), two("a", "b", "zip_all"), response("c")
    )
    result, _ = await ended(mesh.run(document, inputs=texts(50)))
    marks = ("s", "") if slow == "left" else ("", "s")
    assert result.values == tuple(f"{number}-{marks[0]}={number}-{marks[1]}" for number in range(50))


@pytest.mark.conformance("FIRE-06")
async def test_zip_all_reuses_what_comes_once(mesh: Mesh) -> None:
    document = pipeline(chat(), node("a", "once"), two("chat", "a", "zip_all"), response("c"))
    result, updates = await ended(mesh.run(document, inputs=["1", "2", "3"]))
    assert result.values == ("1=once", "2=once", "3=once")
    assert node_update(updates, "c").firings == 3


@pytest.mark.conformance("FIRE-06")
async def test_an_aggregate_of_a_stream_comes_once_and_two_such_fire_once(mesh: Mesh) -> None:
    document = pipeline(
        chat(), node("a", "once"), node("b", "how_many", "chat"), two("a", "b", "zip_all"), response("c")
    )
    result, updates = await ended(mesh.run(document, inputs=["1", "2", "3"]))
    assert result.values == ("once=3",)
    assert node_update(updates, "c").firings == 1


@pytest.mark.conformance("FIRE-07")
async def test_zip_all_stops_at_the_shorter_reports_the_leftovers_and_stops_an_endless_producer(mesh: Mesh) -> None:
    document = pipeline(chat(), node("a", "endless"), two("chat", "a", "zip_all", limit=4), response("c"))
    async with mesh.run(document, open_input=True) as run:
        await run.push("x")
        updates = wire_updates(run)
        async for update in updates:
            edge = update.edge
            if edge.edge_id == "a.number>c.right" and (edge.consumed, edge.buffered) == (1, 4):
                break
        await run.end_input()
        rest = [update async for update in updates]
    assert rest[-1].job.state == COMPLETED
    assert node_update(rest, "c").detail == "items left over: 4 on right"
    assert node_update(rest, "c").firings == 1
    assert states(rest, "a") == ["COMPLETED"]


@pytest.mark.conformance("FIRE-12")
async def test_an_input_of_a_join_that_ends_empty_skips_it_and_no_other(mesh: Mesh) -> None:
    document = pipeline(
        chat(),
        node("a", "mark", "chat", drop=list(range(10))),
        node("b", "mark", "chat", mark="b"),
        two("a", "b", "join", limit=100),
        response("b", "c"),
    )
    result, updates = await ended(mesh.run(document, inputs=["1", "2"]))
    assert (result.state, result.values) == ("completed", ("1-b", "2-b"))
    assert states(updates, "c") == ["RUNNING", "SKIPPED"]
    assert node_update(updates, "c").detail.startswith('the required input "left" ended without an item')


def several(number: int) -> int:
    """How many items `several` makes of one."""
    return min(3, number % 10)


@pytest.mark.conformance("FIRE-08")
@pytest.mark.parametrize("tells", [True, False], ids=["that says when it is done", "that never says so"])
async def test_a_diamond_with_a_branch_that_reorders_and_drops_and_one_that_multiplies(mesh: Mesh, tells: bool) -> None:
    """Where the branch never reports completion, items without a sibling wait for its end, and lanes grow for them."""
    document = pipeline(
        chat(),
        node("a", "shuffle", lane("chat", buffer_limit=4), window=3, drop=[1, 7], tells=tells),
        node("b", "several", lane("chat", buffer_limit=4)),
        two("a", "b", "join"),
        response("c"),
    )
    result, updates = await ended(mesh.run(document, inputs=texts(40)))
    assert (result.state, result.error) == ("completed", None)
    expected = [
        f"{number}-r={number}-{index}"
        for number in range(40)
        for index in range(several(number))
        if number % 10 not in (1, 7)
    ]
    assert in_order(result.values) == expected
    update = node_update(updates, "c")
    assert update.firings == len(expected)
    assert update.detail == "items without a sibling dropped: 4 on left, 16 on right"


@pytest.mark.conformance("FIRE-08")
async def test_what_fails_and_is_skipped_is_dropped_on_both_sides(mesh: Mesh) -> None:
    document = pipeline(
        chat(),
        {**node("a", "mark", lane("chat", buffer_limit=2), mark="a", fail=[3, 4], drop=[5]), "on_error": "skip"},
        {**node("b", "mark", lane("chat", buffer_limit=2), mark="b", fail=[3, 6]), "on_error": "skip"},
        two("a", "b", "join", limit=2),
        response("c"),
    )
    result, updates = await ended(mesh.run(document, inputs=texts(30)))
    assert result.state == "completed"
    assert result.values == tuple(f"{n}-a={n}-b" for n in range(30) if n % 10 not in (3, 4, 5, 6))
    assert [node_update(updates, name).skipped_firings for name in "ab"] == [6, 6]
    assert node_update(updates, "c").detail == "items without a sibling dropped: 3 on left, 6 on right"


@pytest.mark.conformance("FIRE-08")
@pytest.mark.parametrize("branch", ["last", "slow"])
async def test_several_firings_at_once_keep_their_numbers(mesh: Mesh, branch: str) -> None:
    document = pipeline(
        chat(),
        {**node("a", "several", lane("chat", buffer_limit=8)), "concurrency": 4},
        {**node("b", branch, lane("chat", buffer_limit=8)), **({"concurrency": 3} if branch == "slow" else {})},
        two("a", "b", "join", limit=32),
        response("c"),
    )
    result, _ = await ended(mesh.run(document, inputs=texts(30)))
    assert result.state == "completed"
    mark = branch[0]
    expected = [f"{n}-{index}={n}-{mark}" for n in range(30) for index in range(several(n))]
    assert in_order(result.values) == expected


@pytest.mark.conformance("FIRE-08")
async def test_joins_in_the_branches_of_a_join(mesh: Mesh) -> None:
    """The inner one pairs by the items that a generator makes, the outer one by the texts of which it made them."""
    inner = two("a", "b", "join", name="d")
    document: Pipeline = pipeline(
        chat(),
        node("e", "several", lane("chat", buffer_limit=4)),
        node("a", "shuffle", lane("e", buffer_limit=4), window=3),
        node("b", "mark", lane("e", buffer_limit=4), mark="b", drop=[4]),
        inner,
        two("d", "chat", "join"),
        response("c"),
    )
    result, updates = await ended(mesh.run(document, inputs=texts(20)))
    assert (result.state, result.error) == ("completed", None)
    expected = [f"{n}-{index}-r={n}-{index}-b={n}" for n in range(20) for index in range(several(n)) if n % 10 != 4]
    assert sorted(result.values) == sorted(expected)
    assert node_update(updates, "d").detail == "items without a sibling dropped: 6 on left"
    assert node_update(updates, "c").detail == "items without a sibling dropped: 4 on right"


@pytest.mark.many
@pytest.mark.conformance("FIRE-08")
@pytest.mark.parametrize(
    ("mesh", "count"), [("embedded", times(5_000, 1_000)), ("spread", times(1_000, 300))], indirect=["mesh"]
)
async def test_a_long_stream_through_small_limits_and_a_window_beyond_them(mesh: Mesh, count: int) -> None:
    """The reordering branch holds more than the other branch's lanes do: they are grown as far as that takes."""
    document = pipeline(
        node("e", "numbers", count=count),
        node("a", "shuffle", lane("e", buffer_limit=16), window=40),
        node("b", "mark", lane("e", buffer_limit=16), drop=[3]),
        two("a", "b", "join", limit=16),
        response("c"),
    )
    result, updates = await ended(mesh.run(document))
    assert (result.state, result.error) == ("completed", None)
    wanted = (number for number in range(count) if number % 10 != 3)
    assert Counter(result.values) == Counter(f"{number}-r={number}-" for number in wanted)
    assert node_update(updates, "c").detail == f"items without a sibling dropped: {count // 10:,} on left"


@pytest.mark.conformance("FIRE-08")
async def test_a_join_ends_with_an_input_and_stops_the_producers_of_the_other(mesh: Mesh) -> None:
    document = pipeline(
        node("e", "endless"),
        node("a", "first", lane("e", buffer_limit=4), count=3),
        node("b", "mark", lane("e", buffer_limit=4), mark="b"),
        two("a", "b", "join"),
        response("c"),
    )
    result, updates = await ended(mesh.run(document, timeout=20))
    assert (result.state, result.values) == ("completed", ("0=0-b", "1=1-b", "2=2-b"))
    assert [states(updates, name)[-1] for name in "eabc"] == ["COMPLETED"] * 4


@pytest.mark.conformance("FIRE-08")
async def test_several_items_of_a_number_on_both_inputs_fail_the_run(mesh: Mesh) -> None:
    document = pipeline(
        chat(), node("a", "several", "chat"), node("b", "several", "chat"), two("a", "b", "join"), response("c")
    )
    result = await mesh.run(document, inputs=["0", "1", "12"]).result()
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.reason == "join-several"
    assert "item 2 of chat.text" in result.error.message


@pytest.mark.conformance("FIRE-08")
async def test_wholes_pair_though_their_pieces_come_one_by_one(mesh: Mesh) -> None:
    both = {**two("a", "b", "join"), "provider": "pair_wholes"}
    document = pipeline(
        chat(),
        node("a", "spell", lane("chat", buffer_limit=2), mark="a"),
        {**node("b", "spell", lane("chat", buffer_limit=2), mark="b"), "concurrency": 2},
        both,
        response("c"),
    )
    assert not await mesh.validate(document)  # no warning: only one whole comes of one text
    result, updates = await ended(mesh.run(document, inputs=texts(30)))
    assert in_order(result.values) == [f"{n}-a={n}-b" for n in range(30) if n % 10 != 5]
    assert node_update(updates, "c").detail == ""


@pytest.mark.conformance("FIRE-08")
async def test_ways_that_part_and_merge_before_a_join(mesh: Mesh) -> None:
    """Each branch reports its dropped items, so that a text that neither delivers is dropped before they end."""
    document = pipeline(
        chat(),
        node("e", "route", "chat"),
        node("a", "mark", lane("e", output="even", buffer_limit=2), mark="even", drop=[4]),
        node("b", "shuffle", lane("e", output="odd", buffer_limit=2), window=3, drop=[7]),
        two("a", "chat", "join", limit=2),
        response("c"),
    )
    document["components"][4]["input"].append(lane("b", input="left", buffer_limit=2))
    result, updates = await ended(mesh.run(document, inputs=texts(30)))
    assert (result.state, result.error) == ("completed", None)
    expected = [f"{n}-{'r' if n % 2 else 'even'}={n}" for n in range(30) if n % 10 not in (4, 7)]
    assert in_order(result.values) == expected
    assert node_update(updates, "c").detail == "items without a sibling dropped: 6 on right"


@pytest.mark.conformance("FIRE-08")
async def test_what_is_tried_again_keeps_its_number(mesh: Mesh, request: pytest.FixtureRequest) -> None:
    retry = {"on_error": {"retry": {"attempts": 2, "backoff": 0}}}
    document = pipeline(
        chat(),
        {**node("a", "stumble", lane("chat", buffer_limit=2), test=request.node.name), **retry},
        node("b", "shuffle", lane("chat", buffer_limit=2), window=2),
        two("a", "b", "join", limit=2),
        response("c"),
    )
    result, updates = await ended(mesh.run(document, inputs=texts(8)))
    assert in_order(result.values) == [f"{n}-t={n}-r" for n in range(8)]
    assert node_update(updates, "a").retried_firings == 8


@pytest.mark.conformance("FIRE-08")
async def test_single_items_go_into_every_set_of_a_join(mesh: Mesh) -> None:
    document = pipeline(chat(), node("a", "once"), two("chat", "a", "join"), response("c"))
    result = await mesh.run(document, inputs=["1", "2"]).result()
    assert result.values == ("1=once", "2=once")


@pytest.mark.conformance("FIRE-08")
async def test_sets_fire_while_the_source_is_open(mesh: Mesh) -> None:
    document = pipeline(
        chat(), node("a", "mark", "chat", mark="a"), node("b", "last", "chat"), two("a", "b", "join"), response("c")
    )
    async with mesh.run(document, open_input=True) as run:
        outputs = run.values()
        for number in range(3):
            await run.push(str(number))
            async with asyncio.timeout(20):
                assert await anext(outputs) == f"{number}-a={number}-l"
        await run.end_input()
        assert [pair async for pair in outputs] == []
