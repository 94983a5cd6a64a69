"""An event loop in a thread of its own, while it is stopped and other threads call it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from lanemesh import LanemeshError
from lanemesh._aio import loop_thread
from lanemesh._aio.loop_thread import LoopThread

BOUND = 20.0
"""Seconds that a call that should end at once may take."""


class Caller:
    """A call from a thread of its own, which the test outlives if the call never returns."""

    def __init__(self, loop: LoopThread, work: Coroutine[Any, Any, Any]) -> None:
        self.outcome: object = "still waits"
        self._loop = loop
        self._work = work
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def result(self) -> object:
        """What the call returned or raised."""
        self._thread.join(BOUND)
        return self.outcome

    def _call(self) -> None:
        try:
            self.outcome = self._loop.call(self._work)
        except BaseException as error:
            self.outcome = error


def stopped_by_a_thread(loop: LoopThread) -> threading.Thread:
    thread = threading.Thread(target=loop.stop, daemon=True)
    thread.start()
    return thread


async def nothing() -> None:
    """Ends at once."""


def test_a_call_while_it_stops_is_refused() -> None:
    loop = LoopThread("test")
    started, cancelled, released = threading.Event(), threading.Event(), threading.Event()

    async def lingers() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            released.wait(2 * BOUND)

    lingering = Caller(loop, lingers())
    assert started.wait(BOUND)
    stopper = stopped_by_a_thread(loop)
    assert cancelled.wait(BOUND)
    closed_meanwhile = loop.closed
    outcome = Caller(loop, asyncio.sleep(60)).result()
    released.set()
    stopper.join(BOUND)

    assert str(outcome) == "this test is closed: create another one"
    assert closed_meanwhile
    assert lingering.result() is None


def test_work_that_frees_something_is_left_out_when_it_is_closed() -> None:
    loop = LoopThread("test")
    loop.call_unless_closed(nothing())

    async def frees_in_its_own_loop() -> None:
        loop.call_unless_closed(nothing())

    with pytest.raises(LanemeshError, match="its own event loop"):
        loop.call_unless_closed(frees_in_its_own_loop())
    loop.stop()
    loop.call_unless_closed(nothing())


def test_a_call_whose_work_goes_on_after_its_cancellation_ends_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_thread, "STOP_SECONDS", 0.1)
    loop = LoopThread("test")
    started = threading.Event()

    async def never_ends() -> None:
        started.set()
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    caller = Caller(loop, never_ends())
    assert started.wait(BOUND)
    loop.stop()

    assert isinstance(caller.result(), LanemeshError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_calls_end_when_one_of_them_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = LoopThread("test")
    started, submitted = threading.Event(), threading.Event()
    later = nothing()
    submit = asyncio.run_coroutine_threadsafe

    def submit_and_report(work: Coroutine[Any, Any, Any], to: asyncio.AbstractEventLoop) -> Future[Any]:
        future = submit(work, to)
        if work is later:
            submitted.set()
        return future

    async def leaves() -> None:
        started.set()
        submitted.wait(BOUND)
        raise SystemExit(3)

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", submit_and_report)
    leaving = Caller(loop, leaves())
    assert started.wait(BOUND)
    behind = Caller(loop, later)
    outcomes = [leaving.result(), behind.result()]
    loop.stop()

    assert [type(outcome) for outcome in outcomes] == [LanemeshError, LanemeshError]
    assert inspect.getcoroutinestate(later) == inspect.CORO_CLOSED


def test_a_call_that_meets_a_stop_returns_or_is_refused() -> None:
    for _ in range(200):
        loop = LoopThread("test")
        stopper = stopped_by_a_thread(loop)
        outcome = Caller(loop, asyncio.sleep(0, "done")).result()
        stopper.join(BOUND)
        assert outcome == "done" or isinstance(outcome, (LanemeshError, CancelledError))
