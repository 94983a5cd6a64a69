"""Worker threads: bounded, without waiting for who was abandoned."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from lanemesh._aio.threads import Threads
from lanemesh.node.firing.bodies import in_threads

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


async def test_happy_what_is_returned_and_raised_comes_back() -> None:
    threads = Threads()
    assert await threads.call(max, 1, 3, 2) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.call(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.call(next, iter(()))
    VARIABLE.set("seen")
    assert await threads.call(VARIABLE.get) == "seen"


async def test_bodies_that_wait_for_each_other_all_get_a_thread() -> None:
    threads = Threads(limit=8)
    for _ in range(30):
        barrier = threading.Barrier(8)
        await asyncio.wait_for(asyncio.gather(*(threads.call(barrier.wait, 5) for _ in range(8))), 5)


async def test_no_more_threads_run_than_the_limit() -> None:
    threads = Threads(limit=3)
    running, most, lock = 0, 0, threading.Lock()

    def body() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1

    await asyncio.gather(*(threads.call(body) for _ in range(30)))
    assert most == 3


async def test_abandoned_bodies_take_no_thread_from_others() -> None:
    threads = Threads(limit=2)
    release = threading.Event()
    stuck = [asyncio.create_task(threads.call(release.wait, 10)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(threads.call(lambda: "served"))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    for task in stuck:
        task.cancel()
    assert await asyncio.wait_for(waiting, 2) == "served"
    release.set()
    assert await threads.call(lambda: "still served") == "still served"


async def test_a_call_that_is_cancelled_while_it_waits_never_runs() -> None:
    threads = Threads(limit=1)
    release, ran = threading.Event(), threading.Event()
    first = asyncio.create_task(threads.call(release.wait, 10))
    second = asyncio.create_task(threads.call(ran.set))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    release.set()
    await first
    assert await threads.call(lambda: True)
    assert not ran.is_set()


class Counting:
    """A synchronous generator that tells when it is closed."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.stepping = threading.Event()
        self.closed = threading.Event()
        self._gate = gate

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(1000):
                self.stepping.set()
                if self._gate is not None:
                    self._gate.wait(10)
                yield number
        finally:
            self.closed.set()


async def test_a_generator_left_early_is_closed() -> None:
    made = Counting()
    numbers = in_threads(made())
    assert [await anext(numbers) for _ in range(3)] == [0, 1, 2]
    await numbers.aclose()
    assert made.closed.is_set()


async def test_a_generator_cancelled_in_a_step_is_left_with_the_cancellation_and_closed_after_the_step() -> None:
    gate = threading.Event()
    made = Counting(gate)

    async def iterate() -> list[Any]:
        return [number async for number in in_threads(made())]

    task = asyncio.create_task(iterate())
    assert await asyncio.to_thread(made.stepping.wait, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not made.closed.is_set()
    gate.set()
    assert await asyncio.to_thread(made.closed.wait, 2)
