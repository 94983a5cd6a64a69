"""Synchronous generators in worker threads: many values per trip, none of them late, and a bound on how far ahead they run."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
from lanemesh._aio.generators import MAX_AHEAD, MAX_AHEAD_BYTES, GeneratorThread, in_threads
from lanemesh._aio.user_errors import NoException

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


async def test_quick_values_share_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh._aio.generators.HOP_SECONDS", 3600)  # however slow the machine is
    trips = 0
    trip = GeneratorThread._trip

    def counted(self: GeneratorThread) -> None:
        nonlocal trips
        trips += 1
        trip(self)

    monkeypatch.setattr(GeneratorThread, "_trip", counted)
    assert [value async for value in in_threads(range(MAX_AHEAD * 10))] == list(range(MAX_AHEAD * 10))
    assert trips <= 10 + MAX_AHEAD.bit_length()


@pytest.mark.parametrize("quick", [0, 1, 100, 1000])
async def test_a_value_does_not_wait_for_the_next_one(quick: int) -> None:
    seen = threading.Event()

    def generator() -> Iterator[int]:
        yield from range(quick)
        yield -1
        assert seen.wait(10)
        yield -2

    async with aclosing(in_threads(generator())) as values:
        async for value in values:
            if value == -1:
                seen.set()
    assert seen.is_set()
    assert value == -2


@pytest.mark.parametrize(("value", "bound"), [("x", MAX_AHEAD), ("x" * MAX_AHEAD_BYTES, 1), ({"a": 1}, 1)])
async def test_a_generator_runs_ahead_up_to_its_bound(value: Any, bound: int) -> None:
    pulled = taken = most = 0

    def generator() -> Iterator[tuple[str, Any]]:
        nonlocal pulled, most
        for _ in range(2000):
            pulled += 1
            most = max(most, pulled - taken)
            yield "out", value

    async for _ in in_threads(generator()):
        taken += 1
    assert taken == 2000
    assert most <= bound


@pytest.mark.parametrize("quick", [0, 1, 300])
@pytest.mark.parametrize("pairs", [False, True])
async def test_a_value_is_passed_on_before_the_generator_can_change_it(
    quick: int, pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanemesh._aio.generators.HOP_SECONDS", 3600)

    def generator() -> Iterator[Any]:
        yield from ["x"] * quick
        counts: list[int] = []
        for number in range(20):
            counts.append(number)
            yield ("out", counts) if pairs else counts

    seen: list[int] = []
    async for value in in_threads(generator()):
        if value != "x":
            seen.append(len(value[1] if pairs else value))
    assert seen == list(range(1, 21))


async def test_a_generator_with_slow_steps_is_one_value_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh._aio.generators.HOP_SECONDS", -1.0)  # every step is slow
    pulled = taken = most = 0

    def generator() -> Iterator[int]:
        nonlocal pulled, most
        for number in range(100):
            pulled += 1
            most = max(most, pulled - taken)
            yield number

    async for _ in in_threads(generator()):
        taken += 1
    assert (taken, most) == (100, 1)


@pytest.mark.parametrize("count", [0, 1, 5, 300])
@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), asyncio.CancelledError()])
async def test_an_error_comes_after_the_values_before_it(count: int, error: BaseException) -> None:
    def generator() -> Iterator[int]:
        yield from range(count)
        raise error

    values = in_threads(generator())
    assert [await anext(values) for _ in range(count)] == list(range(count))
    with pytest.raises((type(error), NoException)) as raised:
        await anext(values)
    assert error in (raised.value, raised.value.__cause__)
    assert isinstance(raised.value, type(error) if isinstance(error, Exception) else NoException)


async def test_an_error_behind_values_that_were_never_taken_is_not_raised() -> None:
    ended = threading.Event()

    def generator() -> Iterator[int]:
        try:
            yield from range(64)
            raise ValueError("broken")
        finally:
            ended.set()

    async with aclosing(in_threads(generator())) as values:
        async for value in values:
            if value == 40:
                break
    assert ended.is_set()


@pytest.mark.parametrize("taken", [1, 2, 3, 50, 129, 500])
async def test_a_generator_is_closed_in_its_thread_and_its_error_is_raised(taken: int) -> None:
    threads: list[int] = []

    def generator() -> Iterator[int]:
        threads.append(threading.get_ident())
        try:
            yield from range(10_000)
        except GeneratorExit:
            threads.append(threading.get_ident())
            raise ValueError("cannot close") from None

    values = in_threads(generator())
    for _ in range(taken):
        await anext(values)
    with pytest.raises(ValueError, match="cannot close"):
        await values.aclose()
    assert len(set(threads)) == 1
    assert len(threads) == 2


async def test_a_close_waits_for_the_step_under_way() -> None:
    stepping, gate, closed = threading.Event(), threading.Event(), threading.Event()

    def generator() -> Iterator[int]:
        try:
            yield 1
            stepping.set()
            gate.wait(10)
            yield 2
        finally:
            closed.set()

    values = in_threads(generator())
    assert await anext(values) == 1
    later = asyncio.create_task(anext(values))  # the next trip
    await asyncio.to_thread(stepping.wait, 10)
    gate.set()
    assert await later == 2
    await values.aclose()
    assert closed.is_set()


async def test_generators_of_one_thread_have_a_context_each() -> None:
    seen: list[tuple[int, str]] = []

    def generator(name: str) -> Iterator[str]:
        seen.append((threading.get_ident(), VARIABLE.get()))
        token = VARIABLE.set(name)
        for _ in range(200):
            yield VARIABLE.get()
        if name == "b":
            VARIABLE.reset(token)

    VARIABLE.set("outside")
    thread = GeneratorThread(partial(generator, name) for name in "abc")
    async with aclosing(thread):
        for name in "abc":
            assert [value async for value in thread.values()] == [name] * 200
    assert len(set(seen)) == 1
    assert seen[0][1] == "outside"


async def test_one_of_several_generators_is_left_and_the_next_one_follows() -> None:
    closed: list[str] = []

    def generator(name: str, count: int) -> Iterator[str]:
        try:
            yield from [name] * count
        finally:
            closed.append(name)

    thread = GeneratorThread(partial(generator, name, count) for name, count in [("a", 3), ("b", 5000), ("c", 2)])
    async with aclosing(thread):
        async with aclosing(thread.values()) as values:
            assert await anext(values) == "a"
        async with aclosing(thread.values()) as values:
            assert await anext(values) == "b"
        assert [value async for value in thread.values()] == ["c", "c"]
    assert closed == ["a", "b", "c"]


async def test_generators_that_are_not_wanted_any_more_are_closed() -> None:
    begun: list[str] = []
    closed: list[str] = []

    def generator(name: str) -> Iterator[str]:
        begun.append(name)
        try:
            yield from [name] * 1000
        finally:
            closed.append(name)

    for taken in (1, 2, 1000):
        begun.clear()
        closed.clear()
        thread = GeneratorThread(partial(generator, name) for name in "abcd")
        async with aclosing(thread), aclosing(thread.values()) as values:
            for _ in range(taken):
                await anext(values)
        assert closed == begun
        assert len(begun) < 4


async def test_a_cancelled_step_is_abandoned_and_no_generator_follows() -> None:
    stepping, gate, closed = threading.Event(), threading.Event(), threading.Event()
    abandoned: list[bool] = []

    def generator() -> Iterator[int]:
        try:
            stepping.set()
            gate.wait(10)
            yield 1
        finally:
            closed.set()

    thread = GeneratorThread([generator, generator], on_abandoned=lambda: abandoned.append(True))

    async def iterate() -> None:
        async with aclosing(thread):
            async for _ in thread.values():
                pass

    task = asyncio.create_task(iterate())
    await asyncio.to_thread(stepping.wait, 10)
    stepping.clear()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert abandoned == [True]
    assert thread.abandoned
    assert not closed.is_set()
    gate.set()
    await asyncio.to_thread(closed.wait, 10)
    assert not stepping.is_set()
