"""Groups at an input, over memory and over gRPC between two processes: wholes, groups kept apart, and lists."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Answer, Group
from lanemesh.items import ABSENT, GroupOutcome, LaneType
from lanemesh.v1 import update_pb2

from rigs import lane_acts as acts
from rigs.lanes import Rig, Role, Running, Wire, standstill

pytestmark = pytest.mark.timeout(60)

WHOLES = {"consumer": Role("whole_puppet")}
TEXTS = Wire(input="texts")
CATCH = Wire(producer="consumer", consumer="consumer_catch", lane_type=LaneType.DATA)
"""What the node under test emits; its catcher lives beside it."""


def spoken(text: str) -> list[tuple[Any, Group]]:
    """ "g1 h2 g3." as pieces of g and h; a full stop ends a group, an exclamation mark with an error, both after the letter."""
    pieces: list[tuple[Any, Group]] = []
    counts: dict[str, int] = {}
    for word in text.split():
        name, value, end = word[0], word[1], word[2:]
        counts[name] = counts.get(name, -1) + 1
        pieces.append((value, Group(name, counts[name])))
        if end:
            outcome = GroupOutcome.ERROR if end == "!" else GroupOutcome.OK
            pieces.append((ABSENT, Group(name, counts[name] + 1, True, outcome)))
    return pieces


async def finish(run: Running, *components: str) -> list[update_pb2.NodeUpdate]:
    """Lets puppets end, and the run with them; all must be well. Returns how every node ended."""
    for component in components:
        await run.hand(component).act(acts.leave)
    assert await run.finished() == []
    return [update.node for update in run.updates() if update.node.state > update_pb2.NODE_STATE_RUNNING]


@pytest.mark.conformance("FIRE-22")
async def test_pieces_of_two_wholes_on_one_lane_are_assembled_each_by_its_group(lanes: Rig) -> None:
    async with lanes.run(TEXTS, roles=WHOLES) as run:
        await run.producer.act(acts.emit_pieces, spoken("g1 h1 g2 h2 h3. g3 i1"))
        await run.producer.act(acts.emit, "plain")
        await run.producer.act(acts.emit_pieces, spoken("g4."))
        await run.producer.act(acts.leave)
        # The last one was never ended, and its producer has ended well.
        assert await run.consumer.act(acts.take_all, "texts") == ["123", "plain", "1234", "1"]
        (edge,) = (await run.consumer.look(acts.edges)).values()
        assert edge.taken == edge.arrived
        await finish(run, "consumer")


@pytest.mark.conformance("FIRE-22")
async def test_wholes_of_two_producers_with_equal_ids_are_distinguished(lanes: Rig) -> None:
    wires = [Wire(producer=f"producer_{name}", input="texts") for name in "ab"]
    async with lanes.run(*wires, roles=WHOLES) as run:
        a, b = run.hand("producer_a"), run.hand("producer_b")
        for number in "123":
            for hand, letter in ((a, "a"), (b, "b")):
                await hand.act(acts.emit_pieces, [(letter + number, Group("g", int(number), number == "3"))])
        await a.act(acts.leave)
        await b.act(acts.leave)
        assert sorted(await run.consumer.act(acts.take_all, "texts")) == ["a1a2a3", "b1b2b3"]
        await finish(run, "consumer")


@pytest.mark.conformance("FIRE-22")
async def test_wholes_never_hold_up_their_own_pieces(lanes: Rig) -> None:
    async with lanes.run(Wire(input="texts", limit_items=2), roles=WHOLES) as run:
        pieces = [(str(number % 10), Group("g", number, number == 99)) for number in range(100)]
        emitting = run.producer.begin(acts.emit_pieces, pieces * 3)
        await run.consumer.look(acts.arrived, 200, "texts")
        await standstill(run.producer, run.consumer)
        assert not emitting.done()  # two wholes wait, which is the limit
        assert await run.consumer.act(acts.take, 1, "texts") == ["0123456789" * 10]
        await emitting
        await run.producer.act(acts.leave)
        assert await run.consumer.act(acts.take_all, "texts") == ["0123456789" * 10] * 2
        await finish(run, "consumer")


@pytest.mark.conformance("FIRE-22")
async def test_a_node_fires_once_per_whole_and_reports_the_dropped_items(lanes: Rig) -> None:
    answers = Wire(input="answer", lane_type=LaneType.ANSWERS)
    async with lanes.run(answers, CATCH, roles={"consumer": Role("answerer")}) as run:
        pieces = spoken("g1 h1 g2! h2.")
        await run.producer.act(
            acts.emit_pieces,
            [(value if value is ABSENT else Answer(value), group) for value, group in pieces],
        )
        await run.producer.act(acts.emit, Answer("by itself", finish_reason="stop"))
        await run.producer.act(acts.leave)
        assert await run.hand("consumer_catch").act(acts.take_all) == [["12", ""], ["by itself", "stop"]]
        ended = {node.component: node for node in await finish(run, "consumer_catch")}
        assert ended["consumer"].firings == 2
        assert ended["consumer"].detail == (
            "wholes dropped, because their producers failed or were cancelled: 1 on answer"
        )


@pytest.mark.conformance("FIRE-22")
async def test_a_group_whose_producer_fails_is_closed_with_the_error(lanes: Rig) -> None:
    async with lanes.run(roles={"producer": Role("speaker")}) as run:
        taken = await run.consumer.act(acts.take_grouped)
        assert [value for value, _ in taken] == ["a", "b", "ERROR"]
        assert len({group for _, group in taken}) == 1
        await run.consumer.act(acts.leave)
        assert [fault.message for fault in await run.finished()] == ["ValueError: no shouting"]


@pytest.mark.conformance("FIRE-22")
async def test_a_whole_whose_producer_fails_never_comes(lanes: Rig) -> None:
    async with lanes.run(TEXTS, roles={**WHOLES, "producer": Role("speaker")}) as run:
        assert (await run.consumer.act(acts.take_quietly, "texts"))[0] == []
        taken, fault = await run.consumer.act(acts.take_until_fault, "texts")
        assert taken == []
        assert fault is not None
        assert fault.message == "ValueError: no shouting"


@pytest.mark.conformance("FIRE-22")
async def test_more_open_pieces_than_the_ceiling_fail_the_node(lanes: Rig) -> None:
    async with lanes.run(TEXTS, roles=WHOLES) as run:
        pieces = [(str(number), Group("g", number)) for number in range(100_001)]
        await run.producer.act(acts.emit_pieces, pieces)
        message = await run.consumer.act(acts.take_until_error, "texts")
        assert 'the input "texts" holds 100,001 pieces' in message
        assert "its limit is 100,000 pieces" in message
        assert "holds 100,001 pieces" in await run.producer.act(acts.emit_until_told)


@pytest.mark.conformance("FIRE-22")
async def test_merge_group_keeps_the_groups_of_two_producers_apart(lanes: Rig) -> None:
    wires = [Wire(producer=f"producer_{name}", serialize_groups=True) for name in "ab"]
    async with lanes.run(*wires) as run:
        a, b = run.hand("producer_a"), run.hand("producer_b")
        for count, (hand, pieces) in enumerate([(a, "g1"), (b, "h1"), (a, "g2"), (b, "i1"), (b, "h2.")], 1):
            await hand.act(acts.emit_pieces, spoken(pieces))
            await run.consumer.look(acts.arrived, count)
        await b.act(acts.emit, "plain")
        await b.act(acts.leave)
        await run.consumer.look(acts.arrived, 7)
        edge = (await run.consumer.look(acts.edges))[wires[1].id]
        assert edge.buffered_items == 5  # aside, and against the limit
        await a.act(acts.emit_pieces, spoken("g3."))
        await a.act(acts.leave)
        taken = await run.consumer.act(acts.take_grouped)
        shown = [(value, group) for value, group in taken if value != "OK"]
        assert shown == [("1", "g"), ("2", "g"), ("3", "g"), ("1", "h"), ("2", "h"), ("1", "i"), ("plain", "")]
        await finish(run, "consumer")


@pytest.mark.conformance("FIRE-22")
async def test_a_group_kept_together_makes_way_when_its_producer_fails(lanes: Rig) -> None:
    wires = [Wire(producer=f"producer_{name}", serialize_groups=True) for name in "ab"]
    async with lanes.run(*wires) as run:
        a, b = run.hand("producer_a"), run.hand("producer_b")
        await a.act(acts.emit_pieces, spoken("g1"))
        await run.consumer.look(acts.arrived, 1)
        await b.act(acts.emit_pieces, spoken("h1 h2."))
        await b.act(acts.leave)
        await a.act(acts.fail)
        assert [value for value, _ in await run.consumer.act(acts.take_grouped)] == ["1", "1", "2", "OK"]


@pytest.mark.conformance("FIRE-11")
async def test_lists_collect_every_lane_until_the_end_and_the_node_fires_once(lanes: Rig) -> None:
    wires = [
        *(Wire(producer=f"producer_{name}", input="pieces", limit_items=2) for name in "ab"),
        Wire(producer="producer_c", input="wholes"),
        CATCH,
    ]
    async with lanes.run(*wires, roles={"consumer": Role("gatherer")}) as run:
        a, b, c = (run.hand(f"producer_{name}") for name in "abc")
        # They count as taken as they arrive: no limit holds them.
        assert await a.act(acts.emit_each, [f"a{number}" for number in range(50)]) == 50
        assert await b.act(acts.emit_each, [f"b{number}" for number in range(50)]) == 50
        await c.act(acts.emit_pieces, spoken("g1 h1 g2. h2."))
        for hand in (a, b, c):
            await hand.act(acts.leave)
        ((one, pieces, wholes),) = await run.hand("consumer_catch").act(acts.take_all)
        assert (one, wholes) == ("", ["12", "12"])
        assert [piece for piece in pieces if piece[0] == "a"] == [f"a{number}" for number in range(50)]
        assert [piece for piece in pieces if piece[0] == "b"] == [f"b{number}" for number in range(50)]
        ended = {node.component: node for node in await finish(run, "consumer_catch")}
        assert ended["consumer"].firings == 1


@pytest.mark.conformance("FIRE-11")
async def test_a_list_to_which_nothing_came_is_empty(lanes: Rig) -> None:
    wires = (Wire(input="pieces"), Wire(output="side", input="wholes"), CATCH)
    async with lanes.run(*wires, roles={"consumer": Role("gatherer")}) as run:
        await run.producer.act(acts.leave)
        assert await run.hand("consumer_catch").act(acts.take_all) == [["", [], []]]
        await finish(run, "consumer_catch")


@pytest.mark.conformance("FIRE-11")
async def test_a_list_past_its_ceiling_fails_the_node(lanes: Rig) -> None:
    async with lanes.run(Wire(input="pieces"), roles={"consumer": Role("gatherer")}) as run:
        assert "collected 100,001 items" in await run.producer.act(acts.emit_until_told)
        await run.producer.act(acts.leave)
        (fault,) = [fault for fault in await run.finished() if not fault.secondary]
        assert fault.reason == "list-too-long"
        assert "consumer.pieces collected 100,001 items" in fault.message
