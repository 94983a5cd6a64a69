"""Worker threads: bounded, without waiting for who was abandoned."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from lanemesh import Context, In, Node, Out
from lanemesh._aio.generators import in_threads
from lanemesh._aio.threads import Threads, ThreadSession
from lanemesh.testing import run_node_async

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
    assert await asyncio.wait_for(waiting, 8) == "served"
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
    """A synchronous generator that records when it is closed."""

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


async def test_a_generator_has_one_thread_and_one_context_its_close_included() -> None:
    seen: list[tuple[int, str]] = []

    def generator() -> Iterator[int]:
        token = VARIABLE.set("inside")
        try:
            for number in range(50):
                seen.append((threading.get_ident(), VARIABLE.get()))
                yield number
        finally:
            seen.append((threading.get_ident(), VARIABLE.get()))
            VARIABLE.reset(token)

    async def iterate(most: int) -> None:
        async with aclosing(in_threads(generator())) as numbers:
            async for number in numbers:
                if number == most:
                    break

    for most in (3, 100):
        seen.clear()
        await asyncio.gather(iterate(most), *(asyncio.to_thread(lambda: None) for _ in range(8)))
        assert len(set(seen)) == 1
        assert seen[0][1] == "inside"
    assert VARIABLE.get() == ""


async def test_generators_that_wait_for_each_other_all_have_a_thread() -> None:
    threads = Threads(limit=100, kept=4)
    sessions = [ThreadSession(threads) for _ in range(100)]
    barrier = threading.Barrier(100)
    await asyncio.wait_for(asyncio.gather(*(session.call(lambda: barrier.wait(30)) for session in sessions)), 30)
    for session in sessions:
        session.end()
    assert await threads.call(lambda: "still served") == "still served"


async def test_a_limit_that_is_reached_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    threads = Threads(limit=1)
    release = threading.Event()
    calls = [asyncio.create_task(threads.call(release.wait, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*calls)
    assert [record.message for record in caplog.records] == [
        "all 1 worker threads are in use: further synchronous bodies wait for one; lower concurrency, or use more node servers"
    ]


async def test_when_the_system_starts_no_more_threads_calls_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads()
    assert await threads.call(lambda: True)
    release = threading.Event()
    first = asyncio.create_task(threads.call(release.wait, 10))
    await asyncio.sleep(0)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = asyncio.create_task(threads.call(lambda: "served"))
    await asyncio.sleep(0)
    release.set()
    assert await second == "served"
    assert await first


async def test_idle_threads_that_are_not_kept_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh._aio.threads.IDLE_SECONDS", 0.0)
    threads = Threads(kept=2)
    barrier = threading.Barrier(20)
    running: list[threading.Thread] = []

    def body() -> None:
        running.append(threading.current_thread())
        barrier.wait(10)

    await asyncio.gather(*(threads.call(body) for _ in range(20)))
    deadline = asyncio.get_running_loop().time() + 10
    while sum(thread.is_alive() for thread in running) > 2:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_a_hundred_bodies_at_once() -> None:
    barrier = threading.Barrier(100)

    class Meets(Node):
        n: In[int]
        out: Out[int]

        def process(self, context: Context) -> Any:
            barrier.wait(30)
            return self.n

    result = await run_node_async(Meets, n=range(100), concurrency=100, timeout=60)
    assert result.out == list(range(100))
