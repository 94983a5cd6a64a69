"""The updates of a detached run up to a number, whatever its log has dropped."""

from __future__ import annotations

import pytest
from lanemesh.client.detached import DetachedRun, updates_until, wire_updates_until
from lanemesh.text_outputs import TextOutputs
from lanemesh.v1 import run_pb2, update_pb2

from rigs.active_updates import ActiveUpdates, Given

LOG = update_pb2.LogUpdate(component="a", message="working")


def log(sequence: int) -> update_pb2.Update:
    return update_pb2.Update(sequence=sequence, log=LOG)


def texts(first: int, last: int) -> TextOutputs:
    """An output for each of these numbers."""
    return TextOutputs("out", "text", [f"text {number}" for number in range(first, last + 1)], first=first)


def gap(first: int, last: int) -> run_pb2.Gap:
    return run_pb2.Gap(from_sequence=first, to_sequence=last)


async def numbers(*given: Given, until: int, first: int = 1) -> tuple[list[int], int]:
    """The numbers of the updates, which are the same as values and as messages, and how many were missed."""
    run = DetachedRun("run-1", ActiveUpdates(given), channels=None, from_sequence=first)  # type: ignore[arg-type]
    values = [update.sequence async for update in updates_until(run, until)]
    missed = run.missed
    messages = [update.sequence async for update in wire_updates_until(run, until)]
    assert (messages, run.missed) == (values, missed)
    return values, missed


@pytest.mark.parametrize("last_dropped", [10, 25])
async def test_a_run_that_has_dropped_its_update_of_that_number_is_not_waited_for(last_dropped: int) -> None:
    assert await numbers(gap(1, last_dropped), until=10) == ([], 10)


async def test_updates_behind_the_gap_are_given_up_to_the_number() -> None:
    assert await numbers(gap(1, 8), [log(9), texts(10, 12)], [texts(13, 20), log(21)], until=15) == (
        [9, 10, 11, 12, 13, 14, 15],
        8,
    )


async def test_an_update_after_the_number_is_not_given_although_the_same_batch_has_it() -> None:
    assert await numbers([log(1), texts(2, 5), texts(6, 9), log(10)], until=5) == ([1, 2, 3, 4, 5], 0)


async def test_a_gap_in_the_middle_is_counted() -> None:
    assert await numbers([log(1)], gap(2, 4), [log(5)], until=5) == ([1, 5], 3)


async def test_nothing_is_read_of_a_run_without_such_updates() -> None:
    assert await numbers(until=0) == ([], 0)
    assert await numbers(until=6, first=7) == ([], 0)


async def test_a_text_of_a_message_is_that_of_the_value() -> None:
    run = DetachedRun("run-1", ActiveUpdates([[texts(1, 3)]]), channels=None)  # type: ignore[arg-type]

    assert [update.output.item.text async for update in wire_updates_until(run, 2)] == ["text 1", "text 2"]
