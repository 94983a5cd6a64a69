"""Endings that are waited for within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from lanemesh._aio.tasks import cancel_stragglers, within


async def stuck() -> None:
    await asyncio.Event().wait()


async def nested() -> None:
    await stuck()


async def test_what_ends_in_time_is_awaited(caplog: pytest.LogCaptureFixture) -> None:
    assert await within(10, "nothing", asyncio.sleep(0))
    assert await cancel_stragglers(10, "nothing", []) == set()
    assert caplog.text == ""


async def test_a_task_beyond_its_limit_is_cancelled_and_its_wait_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not await within(0.01, "the world to end", nested())
    assert "gave up waiting for the world to end after 0.01 s" in caplog.text
    assert re.search(
        r"waits in nested \(test_bounded.py:\d+\), in stuck \(test_bounded.py:\d+\), in Event.wait", caplog.text
    )


async def test_what_ignores_its_cancellation_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanemesh._aio.tasks.CANCEL_SECONDS", 0.01)
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    task = asyncio.create_task(stubborn())
    assert await cancel_stragglers(0.01, "a stubborn task", [task]) == {task}
    let_go.set()
    await task


async def test_an_error_of_the_work_is_raised() -> None:
    async def fails() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await within(10, "nothing", fails())


async def test_a_waiter_can_be_cancelled_and_the_work_with_it() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await stuck()
        finally:
            ended.set()

    waiting = asyncio.create_task(within(10, "nothing", work()))
    await begun.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await ended.wait()
    assert waiting.cancelled()
