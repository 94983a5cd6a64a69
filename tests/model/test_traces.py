"""The lanes of real runs are accepted by the model, and records of them in which something is wrong are not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from lanemesh.faults import Code, Fault

from model import mutants
from model.near_and_far import near_and_far
from model.recording import Act, End, Event, Record, recorded
from model.replay import rejection
from repeats import times
from rigs import lane_acts as acts
from rigs.joined import APART, mesh_of
from rigs.lanes import Running, Wire

LIMIT = 3
FAULT = Fault(code=Code.ABORTED, reason="own", message="the node's own fault")
Snap = Callable[[], None]
"""Breaks the connections."""
Play = Callable[[Running, Snap], Awaitable[object]]
"""What happens on the lanes of a run."""


async def whole(run: Running, _: Snap) -> None:
    """Twenty items, a slow consumer, a clean end."""
    emitting = run.producer.begin(acts.emit_numbers, 20)
    assert await run.consumer.act(acts.take, 5) == ["0", "1", "2", "3", "4"]
    taking = run.consumer.begin(acts.take_all)
    assert await emitting == 20
    await run.producer.act(acts.complete)
    assert len(await taking) == 15


async def nothing(run: Running, _: Snap) -> None:
    """A lane without items."""
    await run.producer.act(acts.complete)
    assert await run.consumer.act(acts.take_all) == []


async def failing_producer(run: Running, _: Snap) -> None:
    """The producer's node fails after some items."""
    failing = run.producer.begin(acts.emit_then_fail, 5, FAULT)
    taken, fault = await run.consumer.act(acts.take_until_fault)
    assert taken == ["0", "1", "2", "3", "4"]
    assert fault is not None
    with suppress(BaseException):
        await failing


async def stopping_consumer(run: Running, _: Snap) -> None:
    """The consumer needs no more while its producer still emits."""
    emitting = run.producer.begin(acts.emit_numbers, 1_000)
    await run.consumer.act(acts.take, 7)
    await run.consumer.act(acts.stop_all)
    assert await emitting < 1_000


async def failing_consumer(run: Running, _: Snap) -> None:
    """The consumer's node fails."""
    emitting = run.producer.begin(acts.emit_until_told)
    await run.consumer.act(acts.take, 4)
    with suppress(BaseException):
        await run.consumer.act(acts.fail, FAULT)
    assert "own fault" in await emitting


async def cancelled_producer(run: Running, _: Snap) -> None:
    """The producer's side of the run is cancelled."""
    emitting = run.producer.begin(acts.emit_numbers, 1_000)
    await run.consumer.act(acts.take, 4)
    taking = run.consumer.begin(acts.take_until_fault)
    await run.cancel("producer")
    _, fault = await taking
    assert fault is not None
    with suppress(BaseException):
        await emitting


async def broken_connection(run: Running, snap: Snap) -> None:
    """The connection breaks while items are under way."""
    emitting = run.producer.begin(acts.emit_until_told)
    await run.consumer.act(acts.take, 6)
    snap()
    assert "broke" in await emitting
    _, fault = await run.consumer.act(acts.take_until_fault)
    assert fault is not None
    assert fault.reason == "lane-broken"


PLAYS: list[Play] = [
    whole,
    nothing,
    failing_producer,
    stopping_consumer,
    failing_consumer,
    cancelled_producer,
    broken_connection,
]


async def played(play: Play, *wires: Wire) -> list[Record]:
    """The records of the lanes of a run."""
    async with near_and_far() as (rig, records, snap), rig.run(*(wires or (Wire(limit_items=LIMIT),))) as run:
        await play(run, snap)
    return list(records.lanes.values())


@pytest.mark.parametrize("play", PLAYS)
async def test_a_real_lane_is_accepted(play: Play) -> None:
    (record,) = await played(play)
    assert {event.end for event in record.events if event.act is Act.REPORTED} == {End.PRODUCER, End.CONSUMER}
    assert rejection(record.events, LIMIT) is None


async def test_two_lanes_into_one_input_are_accepted() -> None:
    async def both(run: Running, _: Snap) -> None:
        taking = run.consumer.begin(acts.take_all)
        for name in ("producer", "producer_b"):
            await run.hand(name).act(acts.emit_numbers, 20)
            await run.hand(name).act(acts.complete)
        assert sorted(await taking, key=int) == [str(number // 2) for number in range(40)]

    wires = [Wire(producer=name, limit_items=LIMIT) for name in ("producer", "producer_b")]
    records = await played(both, *wires)
    assert len(records) == 2
    assert [rejection(record.events, LIMIT) for record in records] == [None, None]


@pytest.mark.parametrize("seed", range(times(60, 8)))
async def test_a_lane_on_which_anything_happens_is_accepted(seed: int) -> None:
    dice = random.Random(seed)
    limit, count, taken = dice.choice([1, 2, 3, 16]), dice.randrange(60), dice.randrange(60)
    disturbance = dice.choice(["", "stop", "fail", "snap", "cancel"])

    async def anything(run: Running, snap: Snap) -> None:
        emitting = run.producer.begin(acts.emit_numbers, count)
        await run.consumer.act(acts.take, min(taken, count))
        match disturbance:
            case "stop":
                await run.consumer.act(acts.stop_all)
            case "fail":
                run.producer.begin(acts.fail, FAULT)
            case "snap":
                snap()
            case "cancel":
                await run.cancel("producer")
            case _:
                taking = run.consumer.begin(acts.take_all)
                await emitting
                await run.producer.act(acts.complete)
                await taking
                return
        taking = run.consumer.begin(acts.take_until_fault)
        for task in (emitting, taking):
            with suppress(BaseException):
                await task

    (record,) = await played(anything, Wire(limit_items=limit))
    assert rejection(record.events, limit) is None


async def test_lanes_of_a_mesh_are_accepted() -> None:
    with recorded() as records:
        async with mesh_of("left", "right") as (_, client, _):
            for count in (1, 3, 300):  # the last one is too long for one message
                result = await client.run(APART, inputs=map(str, range(count))).result()
                assert result.values == tuple(map(str, range(count)))
    lanes = [record for record in records.lanes.values() if record.events]
    assert lanes
    for record in lanes:
        assert rejection(record.events, 4096, early=True) is None


@pytest.fixture(scope="module")
def records_of_plays() -> dict[Play, list[Event]]:
    """The records of lanes to change, which are accepted as they are."""
    plays: tuple[Play, ...] = (whole, stopping_consumer)
    found = {play: asyncio.run(played(play))[0].events for play in plays}
    assert [rejection(events, LIMIT) for events in found.values()] == [None, None]
    return found


@pytest.mark.parametrize(
    ("play", "mutant"),
    [
        *((whole, mutant) for mutant in mutants.OF_A_WHOLE_LANE),
        *((stopping_consumer, mutant) for mutant in mutants.OF_A_STOPPED_LANE),
    ],
)
def test_a_wrong_record_is_not_accepted(
    records_of_plays: dict[Play, list[Event]], play: Play, mutant: mutants.Mutant
) -> None:
    right = records_of_plays[play]
    wrong = mutant(right)
    assert wrong != right
    assert rejection(wrong, LIMIT) is not None
