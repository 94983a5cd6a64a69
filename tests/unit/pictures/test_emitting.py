"""Values of a blocking function as a stream."""

from __future__ import annotations

import threading
from contextlib import aclosing

import pytest
from lanemesh_services.shared.emitting import Emitter, emitted


async def test_values_arrive_in_order_and_the_error_after_them() -> None:
    def count(emitter: Emitter[int]) -> None:
        for number in range(5):
            emitter.emit(number)
        raise ValueError("no more")

    numbers = emitted(count)
    assert [await anext(numbers) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="no more"):
        await anext(numbers)


async def test_the_function_is_never_further_ahead_than_allowed() -> None:
    made = []

    def count(emitter: Emitter[int]) -> None:
        for number in range(20):
            made.append(number)
            emitter.emit(number)

    async for number in emitted(count, ahead=2):
        assert len(made) <= number + 4  # two that wait, one in `emit`, and the next one


async def test_a_reader_that_leaves_stops_the_function() -> None:
    ended = threading.Event()

    def count(emitter: Emitter[int]) -> None:
        number = 0
        while emitter.emit(number):
            number += 1
        assert emitter.stopped
        ended.set()

    async with aclosing(emitted(count)) as numbers:
        async for number in numbers:
            if number == 3:
                break
    assert ended.wait(10)
