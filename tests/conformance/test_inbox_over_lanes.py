"""The inbox at the end of real lanes: over memory, and over gRPC between two processes."""

from __future__ import annotations

import asyncio

import pytest
from lanemesh.faults import Code, Fault

from rigs import lane_acts as acts
from rigs.lanes import Rig, Role, Running, Wire, standstill

pytestmark = pytest.mark.timeout(60)

FAULT = Fault(code=Code.UNKNOWN, reason="no-more-ink", message="there is no more ink")
WHOLE = {"consumer": Role("whole_puppet")}
TWO_PORTS = (Wire(), Wire(output="side", input="others"))


def producers(count: int, limit: int) -> list[Wire]:
    """Lanes of several producers into one port."""
    return [Wire(producer=f"producer_{number}", limit_items=limit) for number in range(count)]


async def leave(run: Running, *components: str) -> None:
    """Lets puppets end, and the run with them; all must be well."""
    for component in components or run.components:
        await run.hand(component).act(acts.leave)
    assert await run.finished() == []


@pytest.mark.conformance("INBOX-01")
async def test_each_port_is_first_in_first_out(lanes: Rig) -> None:
    async with lanes.run(*TWO_PORTS) as run:
        for number in range(20):
            await run.producer.act(acts.emit, f"v{number}")
            await run.producer.act(acts.emit, f"o{number}", "side")
        await run.producer.act(acts.leave)
        assert await run.consumer.act(acts.take_all, "others") == [f"o{number}" for number in range(20)]
        assert await run.consumer.act(acts.take_all, "values") == [f"v{number}" for number in range(20)]
        await leave(run, "consumer")


@pytest.mark.conformance("INBOX-02")
async def test_iter_any_keeps_the_order_of_arrival_also_beside_a_stream(lanes: Rig) -> None:
    wires = (*TWO_PORTS, Wire(producer="producer_c", input="more"))
    homes = {
        "a": ("producer", "out", "values"),
        "b": ("producer", "side", "others"),
        "c": ("producer_c", "out", "more"),
    }
    counts = dict.fromkeys(homes, 0)
    async with lanes.run(*wires) as run:
        for number, letter in enumerate("abacbcaab"):
            producer, output, port = homes[letter]
            counts[letter] += 1
            await run.hand(producer).act(acts.emit, f"{letter}{number}", output)
            await run.consumer.look(acts.arrived, counts[letter], port)
        first = await run.consumer.act(acts.take_pairs, 3)
        assert [value for _, value in first] == ["a0", "b1", "a2"]
        assert await run.consumer.act(acts.take, 1, "others") == ["b4"]  # past the c before it
        rest = run.consumer.begin(acts.take_pairs, 100)
        await run.producer.act(acts.leave)
        await run.hand("producer_c").act(acts.leave)
        assert [value for _, value in await rest] == ["c3", "c5", "a6", "a7", "b8"]
        assert [port for port, _ in first] == ["values", "others", "values"]
        await leave(run, "consumer")


@pytest.mark.conformance("INBOX-03")
async def test_a_stream_ends_with_its_port_and_iter_any_with_the_last(lanes: Rig) -> None:
    async with lanes.run(*TWO_PORTS) as run:
        await run.producer.act(acts.emit, "1")
        await run.producer.act(acts.complete)
        await run.consumer.look(acts.ended)
        assert await run.consumer.act(acts.take_all) == ["1"]  # drained before the end is seen
        rest = run.consumer.begin(acts.take_pairs, 100)
        await run.producer.act(acts.emit, "2", "side")
        await run.consumer.look(acts.arrived, 1, "others")
        await standstill(run.producer, run.consumer)
        assert not rest.done()
        await run.producer.act(acts.leave)
        assert await rest == [("others", "2")]
        await leave(run, "consumer")


@pytest.mark.conformance("INBOX-04")
async def test_a_port_is_open_until_each_of_its_producers_has_ended(lanes: Rig) -> None:
    wires = producers(3, 10)
    async with lanes.run(*wires) as run:
        taking = run.consumer.begin(acts.take_all)
        for number in range(2):
            await run.hand(f"producer_{number}").act(acts.emit, str(number))
            await run.hand(f"producer_{number}").act(acts.leave)
            for _ in range(2):  # a repeated end counts once
                await run.consumer.look(acts.end_again, wires[number].id)
        await run.hand("producer_2").act(acts.emit, "2")
        await run.consumer.look(acts.arrived, 3)
        await standstill(run.consumer)
        assert not taking.done()
        await run.hand("producer_2").act(acts.leave)
        assert sorted(await taking) == ["0", "1", "2"]
        await leave(run, "consumer")


@pytest.mark.conformance("INBOX-05")
async def test_a_full_edge_blocks_only_its_own_producer(lanes: Rig) -> None:
    wires = (*producers(2, 2), Wire(producer="producer_2", input="others", limit_items=2))
    async with lanes.run(*wires) as run:
        full, sibling, other = (run.hand(f"producer_{number}") for number in range(3))
        waiting = full.begin(acts.emit_numbers, 3)
        await run.consumer.look(acts.arrived, 2)
        await standstill(full, run.consumer)
        assert await full.look(acts.emitted) == 2
        assert await sibling.act(acts.emit, "s")
        assert await other.act(acts.emit, "o")
        await run.consumer.look(acts.arrived, 3)
        assert await run.consumer.act(acts.take, 1, "others") == ["o"]
        assert not waiting.done()
        assert await run.consumer.act(acts.take, 1) == ["0"]
        assert await waiting == 3
        await leave(run)


@pytest.mark.conformance("INBOX-06")
async def test_eight_producers_at_their_limits_lose_nothing(lanes: Rig) -> None:
    async with lanes.run(*producers(8, 3)) as run:
        names = [f"producer_{number}" for number in range(8)]
        emitting = [
            run.hand(name).begin(acts.emit_each, [f"{name} {number}" for number in range(100)]) for name in names
        ]
        await run.consumer.look(acts.arrived, 24)
        await standstill(*(run.hand(name) for name in names), run.consumer)
        counts = (await run.consumer.look(acts.edges)).values()
        assert [edge.buffered_items for edge in counts] == [3] * 8
        taking = run.consumer.begin(acts.take_watching_limits)
        assert await asyncio.gather(*emitting) == [100] * 8
        for name in names:
            await run.hand(name).act(acts.leave)
        taken, most = await taking
        for name in names:
            assert [value for value in taken if value.startswith(f"{name} ")] == [f"{name} {n}" for n in range(100)]
        assert len(taken) == 800
        assert most == 3
        await leave(run, "consumer")


@pytest.mark.conformance("INBOX-07")
async def test_closing_wakes_everyone_and_later_puts_are_refused(lanes: Rig) -> None:
    wires = (*producers(3, 1), Wire(producer="producer_3", input="others"))
    async with lanes.run(*wires) as run:
        names = [f"producer_{number}" for number in range(3)]
        waiting = [run.hand(name).begin(acts.emit_numbers, 5) for name in names]
        await run.consumer.look(acts.arrived, 3)
        consumer = run.consumer.begin(acts.take_all, "others")
        await standstill(*(run.hand(name) for name in names), run.consumer)
        assert not consumer.done()
        await run.consumer.look(acts.stop_all)
        assert await consumer == []
        assert await asyncio.gather(*waiting) == [1] * 3
        while await run.hand("producer_3").act(acts.emit, "late"):
            await run.consumer.look(acts.nothing)  # over the wire, the news may still be under way
        edges = (await run.consumer.look(acts.edges)).values()
        assert all(edge.stopped and edge.buffered_items == edge.taken == 0 for edge in edges)
        assert all(edge.discarded == edge.arrived for edge in edges)
        await leave(run)


@pytest.mark.conformance("INBOX-08")
async def test_a_port_without_lanes_has_ended(lanes: Rig) -> None:
    async with lanes.run(Wire(consumer="consumer", input="texts"), roles=WHOLE) as run:
        await run.producer.act(acts.leave)
        assert await run.consumer.act(acts.take_all, "texts") == []
        await leave(run, "consumer")
    async with lanes.run(roles=WHOLE) as run:
        assert await run.consumer.act(acts.take_all, "texts") == []
        await leave(run)


@pytest.mark.conformance("INBOX-09")
@pytest.mark.parametrize("how", ["stream", "iter_any"])
async def test_a_fault_end_is_raised_after_the_items_before_it(lanes: Rig, how: str) -> None:
    async with lanes.run(*producers(2, 10)) as run:
        await run.hand("producer_0").act(acts.emit_then_fail, 2, FAULT)
        await run.consumer.look(acts.arrived, 2)
        act = acts.take_until_fault if how == "stream" else acts.take_pairs_until_fault
        taken, fault = await run.consumer.act(act)
        assert taken == ["0", "1"]
        assert fault is not None
        assert (fault.reason, fault.secondary) == ("no-more-ink", True)
        assert fault.details["port"] == "values"


@pytest.mark.conformance("INBOX-09")
async def test_a_fault_end_can_be_asked_for_instead(lanes: Rig) -> None:
    async with lanes.run(*producers(2, 10)) as run:
        await run.hand("producer_0").act(acts.emit_then_fail, 1, FAULT)
        await run.consumer.look(acts.arrived, 1)
        taking = run.consumer.begin(acts.take_quietly)
        await run.hand("producer_1").act(acts.emit, "on")
        await run.hand("producer_1").act(acts.leave)
        taken, fault = await taking
        assert taken == ["0", "on"]
        assert fault is not None
        assert fault.reason == "no-more-ink"


@pytest.mark.conformance("INBOX-10")
async def test_cancelled_waiters_leave_the_inbox_usable(lanes: Rig) -> None:
    async with lanes.run(Wire(limit_items=2)) as run:
        assert await run.consumer.act(acts.cancel_takers, 3) == 3
        assert await run.producer.act(acts.emit_numbers, 2) == 2
        await run.consumer.look(acts.arrived, 2)
        assert await run.producer.act(acts.cancel_emits, 3) == 3
        emitting = run.producer.begin(acts.emit_each, ["2", "3", "4"])
        taking = run.consumer.begin(acts.check_numbers)
        assert await emitting == 3
        await run.producer.act(acts.leave)
        assert await taking == 5
        await leave(run, "consumer")
