"""The order in which runs are set up, and the bounds of that."""

from __future__ import annotations

import asyncio

import pytest
from lanemesh.faults import Code, LanemeshError
from lanemesh_orchestrator.scheduling import admission
from lanemesh_orchestrator.scheduling.admission import StartGate, Ticket


async def settled() -> None:
    """Lets the tasks that can go on do so."""
    for _ in range(4):
        await asyncio.sleep(0)


async def test_turns_are_given_in_order_and_at_most_so_many_at_a_time() -> None:
    gate = StartGate(2, hold_seconds=60)
    admitted: list[int] = []

    async def run(number: int, ticket: Ticket) -> None:
        await ticket.turn()
        admitted.append(number)

    tickets = [gate.enter() for _ in range(5)]
    tasks = [asyncio.create_task(run(number, ticket)) for number, ticket in enumerate(tickets)]
    await settled()
    assert (admitted, gate.active, gate.pending) == ([0, 1], 2, 3)
    tasks[2].cancel()
    tickets[1].leave()
    await settled()
    assert admitted == [0, 1, 3]
    for ticket in tickets:
        ticket.leave()
    await settled()
    tickets[4].leave()
    assert (admitted, gate.active, gate.pending) == ([0, 1, 3, 4], 0, 0)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_run_that_takes_long_does_not_delay_those_behind_it() -> None:
    gate = StartGate(1, hold_seconds=0.01)
    slow, quick = gate.enter(), gate.enter()
    await slow.turn()
    await quick.turn()  # the turn of `slow` has ended by itself
    slow.leave()
    assert gate.active == 1
    quick.leave()
    assert gate.active == 0


@pytest.mark.parametrize("cancelled_first", [False, True])
async def test_a_turn_that_comes_with_a_cancellation_is_passed_on(cancelled_first: bool) -> None:
    gate = StartGate(1, hold_seconds=60)
    first, second, third = (gate.enter() for _ in range(3))
    await first.turn()
    cancelled = asyncio.create_task(second.turn())
    waiting = asyncio.create_task(third.turn())
    await settled()
    if cancelled_first:
        cancelled.cancel()
    first.leave()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await waiting
    third.leave()
    assert gate.active == 0


async def test_a_run_beyond_the_bound_is_refused_with_the_advice_to_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING", 2)
    gate = StartGate()
    gate.check()
    tickets = [gate.enter(), gate.enter()]
    with pytest.raises(LanemeshError, match="2 runs already wait to be started") as refused:
        gate.check()
    fault = refused.value.fault
    assert (fault.code, fault.reason) == (Code.RESOURCE_EXHAUSTED, "too-many")
    assert fault.retry_after == 1
    tickets[0].leave()
    gate.check()
